import type { ListedRoute, RouteMark } from '../../registry/route-list.ts'
import type { RouteFiles } from './files.ts'
import { fromBrackets, hasParams, under } from './route-path.ts'
import { type FoundRoute, nothingFound, type Scan } from './route-set.ts'
import { exportedNames, exportedValue, methodsOf, plainTitle } from './source-marks.ts'

const folder = 'src/pages'
const configs = ['mjs', 'ts', 'mts', 'js', 'cjs'].map((extension) => `astro.config.${extension}`)
const pageFile = /\.(astro|md|mdx|markdown|html)$/
const endpointFile = /\.(ts|js|mts|mjs)$/

/** An Astro app, by `src/pages` and what its config says in plain text. */
export function scanAstro(files: RouteFiles): Scan {
  const paths = files.list(folder).filter((path) => !path.split('/').some((name) => name.startsWith('_')))
  if (paths.length === 0)
    return { ...nothingFound, notes: [`there is no ${folder}: of another srcDir nothing is known`] }
  const config = configs.map((path) => files.read(path, 65_536)).find((text) => text !== null) ?? ''
  const base = /^\s*base\s*:\s*['"]\/?([\w./-]{0,200})['"]/m.exec(config)?.[1] ?? ''
  const isServer = /^[^/\n]{0,200}\boutput\s*:\s*['"](server|hybrid)['"]/m.exec(config)?.[1] === 'server'
  const routes = paths
    .filter((path) => pageFile.test(path) || (endpointFile.test(path) && !path.endsWith('.d.ts')))
    .map((path) => ({ path, code: files.read(`${folder}/${path}`, 262_144) ?? '' }))
    .map(({ path, code }) => (pageFile.test(path) ? page(path, code, isServer) : endpoint(path, code, isServer)))
  return {
    from: 'source',
    routes: routes.map((route) => ({ ...route, path: under(`/${base}`, route.path) })),
    made: [],
    notes: [],
  }
}

function page(file: string, code: string, isServer: boolean): FoundRoute {
  const path = addressOf(file.replace(pageFile, ''))
  const marks: RouteMark[] = []
  if (hasParams(path) && exportedNames(code).has('getStaticPaths')) marks.push('static-params')
  if (/<title[\s>]/.test(code)) marks.push('metadata')
  // Markdown is made ahead in any case that its text can decide.
  const title = plainTitle(code)
  return {
    path,
    kind: 'page',
    methods: ['GET'],
    source: `${folder}/${file}`,
    rendering: renderingOf(code, isServer),
    marks,
    title,
  }
}

// One that is made ahead is a file: `rss.xml.ts`.
function endpoint(file: string, code: string, isServer: boolean): FoundRoute {
  const path = addressOf(file.replace(endpointFile, ''))
  const names = exportedNames(code)
  const rendering = renderingOf(code, isServer)
  const marks: RouteMark[] = names.has('getStaticPaths') ? ['static-params'] : []
  const source = `${folder}/${file}`
  if (rendering === 'static') return { path, kind: 'file', methods: ['GET'], source, rendering, marks }
  return { path, kind: 'api', methods: names.has('ALL') ? null : methodsOf(names), source, rendering, marks }
}

function addressOf(path: string): string {
  return fromBrackets(path.replace(/(^|\/)index$/, ''))
}

function renderingOf(code: string, isServer: boolean): ListedRoute['rendering'] {
  const prerender = exportedValue(code, 'prerender') ?? String(!isServer)
  return prerender === 'true' ? 'static' : 'dynamic'
}
