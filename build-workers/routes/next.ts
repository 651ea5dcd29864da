import { z } from 'zod'
import type { ListedRoute, RouteMark } from '../../registry/route-list.ts'
import { readJson } from '../read-json.ts'
import type { RouteFiles } from './files.ts'
import { fromBrackets, hasParams, under } from './route-path.ts'
import { type FoundRoute, nothingFound, type Scan } from './route-set.ts'
import { exportedNames, methodsOf, plainTitle, usesCache } from './source-marks.ts'

const texts = z.record(z.string(), z.string())
const prerendered = z.looseObject({
  srcRoute: z.string().nullish().catch(null),
  initialRevalidateSeconds: z.union([z.number().nonnegative(), z.literal(false)]).catch(false),
  renderingMode: z.string().optional().catch(undefined),
  /** Since the build says of a page with `cacheComponents` whether anything of it is left for the request. */
  compute: z.string().optional().catch(undefined),
  experimentalPPR: z.boolean().optional().catch(undefined),
})
const prerenderManifest = z.looseObject({
  routes: z.record(z.string(), prerendered).catch({}),
  dynamicRoutes: z
    .record(z.string(), z.looseObject({ renderingMode: z.string().optional().catch(undefined) }))
    .catch({}),
})
const routesManifest = z.looseObject({ basePath: z.string().catch('') })
const serverFiles = z.looseObject({
  config: z.looseObject({
    pageExtensions: z.array(z.string().regex(/^[\w.]{1,20}$/)).catch(['tsx', 'ts', 'jsx', 'js']),
  }),
})

type Made = {
  pages: Map<string, z.infer<typeof prerendered>[]>
  patterns: z.infer<typeof prerenderManifest>['dynamicRoutes']
}

/** A Next.js app, by the manifests of its build; marks and methods by its files. `dist`: where it is thought to have been built. */
export function scanNext(files: RouteFiles, dist: string): Scan {
  const folder = [dist, ...files.names('')].find((name) => files.read(`${name}/routes-manifest.json`, 1) !== null)
  if (folder === undefined) return nothingFound
  const read = <T>(schema: z.ZodType<T>, name: string) => readJson(schema, files.read(`${folder}/${name}`, 8e6))
  const { basePath } = read(routesManifest, 'routes-manifest.json') ?? { basePath: '' }
  const { routes: madePages, dynamicRoutes } = read(prerenderManifest, 'prerender-manifest.json') ?? {
    ...{ routes: {}, dynamicRoutes: {} },
  }
  const made = { pages: bySourceRoute(madePages), patterns: dynamicRoutes }
  const extensions = read(serverFiles, 'required-server-files.json')?.config.pageExtensions ?? [
    'tsx',
    'ts',
    'jsx',
    'js',
  ]
  const source = new NextSource(files, extensions)
  const fromApp = Object.entries(read(texts, 'app-path-routes-manifest.json') ?? {})
    .filter(([, path]) => isOfTheApp(path))
    .map(([key, path]) => ({ ...renderingOf(path, made), ...source.describe(key, path) }))
  const fromPages = Object.entries(read(texts, 'server/pages-manifest.json') ?? {})
    .filter(([path]) => isOfTheApp(path) && !['/404', '/500'].includes(path))
    .map(([path, file]) => ({ ...renderingOf(path, made, file), ...source.describePage(path) }))
  return {
    from: 'build',
    routes: [...fromApp, ...fromPages].map((route) => ({ ...route, path: under(basePath, fromBrackets(route.path)) })),
    made: Object.keys(madePages)
      .filter(isOfTheApp)
      .map((path) => under(basePath, path)),
    notes: [],
  }
}

// Next's own pages, and those that are shown in the place of others: `/feed/(.)photo/[id]`.
function isOfTheApp(path: string): boolean {
  return path.startsWith('/') && !/^\/_/.test(path) && !/\(\.{1,3}\)/.test(path)
}

function bySourceRoute(routes: Record<string, z.infer<typeof prerendered>>): Made['pages'] {
  const bySource: Made['pages'] = new Map()
  for (const [path, page] of Object.entries(routes)) {
    const route = page.srcRoute ?? path
    const others = bySource.get(route)
    if (others) others.push(page)
    else bySource.set(route, [page])
  }
  return bySource
}

function renderingOf(
  path: string,
  { pages: made, patterns }: Made,
  file = '',
): Pick<ListedRoute, 'rendering' | 'revalidate_sec'> {
  const pages = made.get(path) ?? []
  const isPartial =
    pages.some(isPartlyMade) || (pages.length === 0 && patterns[path]?.renderingMode === 'PARTIALLY_STATIC')
  const revalidated = pages.map((page) => page.initialRevalidateSeconds).filter((seconds) => seconds !== false)
  const revalidateSec = revalidated.length > 0 ? Math.min(...revalidated) : null
  if (isPartial) return { rendering: 'partial', revalidate_sec: revalidateSec }
  if (revalidateSec !== null) return { rendering: 'revalidated', revalidate_sec: revalidateSec }
  return { rendering: pages.length > 0 || file.endsWith('.html') ? 'static' : 'dynamic', revalidate_sec: null }
}

function isPartlyMade({ renderingMode, compute, experimentalPPR }: z.infer<typeof prerendered>): boolean {
  return (renderingMode === 'PARTIALLY_STATIC' || experimentalPPR === true) && compute !== 'static'
}

class NextSource {
  readonly #files: RouteFiles
  readonly #extensions: string[]
  readonly #roots = new Map<string, { folder: string; paths: Set<string> }>()
  readonly #marks = new Map<string, { names: Set<string>; usesCache: boolean; title: string | null }>()

  constructor(files: RouteFiles, extensions: string[]) {
    this.#files = files
    this.#extensions = extensions
    for (const router of ['app', 'pages']) {
      const folder = [router, `src/${router}`].find((at) => files.names(at).length > 0) ?? router
      this.#roots.set(router, { folder, paths: new Set(files.list(folder)) })
    }
  }

  /** Of the app router; `key` is `/(shop)/cart/page` or `/api/hello/route`. */
  describe(key: string, path: string): FoundRoute {
    const source = this.#find('app', key.slice(1))
    if (key.endsWith('/page')) {
      const marks = new Set<RouteMark>()
      for (const file of [...this.#layoutsOf(key), ...(source ? [source] : [])]) this.#mark(file, marks)
      const title = source ? this.#read(source).title : null
      return { path, kind: 'page', methods: ['GET'], source, marks: [...marks], title }
    }
    // robots.txt, opengraph-image and the like have files of other names.
    if (!source) return { path, kind: 'file', methods: ['GET'], source: null }
    const { names, usesCache: cached } = this.#read(source)
    const marks: RouteMark[] = []
    if (names.has('generateStaticParams')) marks.push('static-params')
    if (cached) marks.push('use-cache')
    return { path, kind: 'api', methods: methodsOf(names), source, marks }
  }

  /** Of the pages router. */
  describePage(path: string): FoundRoute {
    const inner = path.slice(1)
    const source = this.#find('pages', inner || 'index') ?? this.#find('pages', `${inner}/index`)
    if (/^\/api(\/|$)/.test(path)) return { path, kind: 'api', source }
    const names = source ? this.#read(source).names : new Set<string>()
    const marks: RouteMark[] = hasParams(fromBrackets(path)) && names.has('getStaticPaths') ? ['static-params'] : []
    return { path, kind: 'page', methods: ['GET'], source, marks }
  }

  #mark(file: string, marks: Set<RouteMark>): void {
    const { names, usesCache: cached } = this.#read(file)
    if (names.has('generateStaticParams')) marks.add('static-params')
    if (names.has('metadata')) marks.add('metadata')
    if (names.has('generateMetadata')) marks.add('generated-metadata')
    if (names.has('experimental_ppr')) marks.add('ppr')
    if (cached) marks.add('use-cache')
  }

  #layoutsOf(key: string): string[] {
    const segments = key.split('/').slice(1, -1)
    const folders = Array.from({ length: segments.length + 1 }, (_, depth) => segments.slice(0, depth).join('/'))
    return folders.flatMap((folder) => this.#find('app', folder ? `${folder}/layout` : 'layout') ?? [])
  }

  #find(router: 'app' | 'pages', path: string): string | null {
    const root = this.#roots.get(router)
    const extension = this.#extensions.find((end) => root?.paths.has(`${path}.${end}`))
    return root && extension ? `${root.folder}/${path}.${extension}` : null
  }

  #read(file: string) {
    const known = this.#marks.get(file)
    if (known) return known
    const code = this.#files.read(file, 262_144) ?? ''
    const marks = { names: exportedNames(code), usesCache: usesCache(code), title: plainTitle(code) }
    this.#marks.set(file, marks)
    return marks
  }
}
