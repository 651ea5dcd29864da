import { type RouteMark, type RouteMethod, routeMethods } from '../../registry/route-list.ts'
import type { RouteFiles } from './files.ts'
import { fromBrackets, under } from './route-path.ts'
import { type FoundRoute, nothingFound, type Scan } from './route-set.ts'
import { plainTitle } from './source-marks.ts'

const pageFolders = ['app/pages', 'pages', 'src/pages']
const apps = ['app/app.vue', 'app.vue', 'src/app.vue']
const pageFile = /(\.(client|server))?\.(vue|tsx|jsx|ts|js|mjs)$/
const handlerFile = /\.(ts|js|mjs|cjs|mts|cts)$/

/** A Nuxt app, by its pages and the handlers of its server. What modules and layers add is not known. */
export function scanNuxt(files: RouteFiles): Scan {
  const config = files.read('nuxt.config.ts', 65_536) ?? files.read('nuxt.config.js', 65_536) ?? ''
  const base = /\bbaseURL\s*:\s*['"]\/?([\w./-]{0,200})['"]/.exec(config)?.[1] ?? ''
  const routes = [
    ...pagesOf(files),
    ...handlersOf(files, 'server/api', '/api'),
    ...handlersOf(files, 'server/routes', ''),
  ]
  if (routes.length === 0) return nothingFound
  return {
    from: 'source',
    routes: routes.map((route) => ({ ...route, path: under(`/${base}`, route.path) })),
    made: [],
    notes: [],
  }
}

function pagesOf(files: RouteFiles): FoundRoute[] {
  const folder = pageFolders.find((path) => files.names(path).length > 0)
  const app = apps.find((path) => files.read(path, 1) !== null)
  if (folder === undefined)
    return app === undefined ? [] : [{ path: '/', kind: 'page', methods: ['GET'], source: app, ...marksOf(files, app) }]
  return files
    .list(folder)
    .filter((path) => pageFile.test(path) && !/\.d\.ts$/.test(path))
    .map((path) => {
      const source = `${folder}/${path}`
      const address = fromBrackets(path.replace(pageFile, '').replace(/(^|\/)index$/, ''))
      return { path: address, kind: 'page', methods: ['GET'], source, ...marksOf(files, source) }
    })
}

function marksOf(files: RouteFiles, source: string): { marks: RouteMark[]; title: string | null } {
  const code = files.read(source, 262_144) ?? ''
  const title = /\b(?:useHead|useSeoMeta)\(\s*\{[^{}]{0,500}?\btitle\s*:\s*(['"])([^'"\\\n]{1,200})\1/.exec(code)?.[2]
  const hasHead = /\b(useHead|useSeoMeta|useServerSeoMeta|useServerHead)\s*\(|<(Head|Title)>/.test(code)
  return { marks: hasHead ? ['metadata'] : [], title: title ?? plainTitle(code) }
}

// A handler without a method in its name takes all of them; what it makes of each is for it to know.
function handlersOf(files: RouteFiles, folder: string, prefix: string): FoundRoute[] {
  return files
    .list(folder)
    .filter((path) => handlerFile.test(path) && !/\.d\.[cm]?ts$/.test(path))
    .map((path) => {
      const [, plain = '', method] =
        /^(.*?)(?:\.(get|head|post|put|patch|delete|options|connect|trace))?(?:\.(?:dev|prod|prerender))?$/.exec(
          path.replace(handlerFile, ''),
        ) ?? []
      const known = routeMethods.find((name) => name.toLowerCase() === method)
      const methods: RouteMethod[] | null = method === undefined ? null : known ? [known] : []
      const address = fromBrackets(plain.replace(/(^|\/)index$/, ''))
      return {
        path: under(prefix || '/', address),
        kind: 'api',
        methods,
        source: `${folder}/${path}`,
        rendering: 'dynamic',
      }
    })
}
