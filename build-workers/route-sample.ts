import { PathPattern } from '../registry/path-pattern.ts'
import type { ListedRoute, RouteList } from '../registry/route-list.ts'
import type { AppConfig } from './app-config.ts'
import type { Page } from './pack-pages.ts'
import { hasParams } from './routes/route-path.ts'

/** What is asked of an app before it has users, besides its health page. Paths are as they are written in a request. */
export type RouteSample = {
  /** Of the config: they must exist. What a file or a redirect answers is not asked of the app. */
  listed: string[]
  /** How many the config lists. */
  listedInAll: number
  /** The health page is one of the known routes. */
  isHealthKnown: boolean
  picked: { path: string; kind: ListedRoute['kind'] }[]
  /** How many pages and API routes the app is known to have. */
  known: number
}

export type SampleWishes = {
  settings: AppConfig['deployments']['healthCheck']['routes']
  /** The path of the health page, which is asked anyway. */
  health: string
  /** Files that the edge answers with. */
  published: Page[]
  isAnswered: (path: string) => boolean
}

// A GET that does something: that is what its name says, and nobody has asked for it to be done.
const acts =
  /(^|[-_./])(cron|jobs?|tasks?|queues?|(web)?hooks?|callbacks?|send|mails?|emails?|notify|delete|remove|destroy|reset|clear|purge|flush|revalidate|refresh|seed|migrate|sync|import|export|trigger|run|start|stop|restart|shutdown|exit|kill|deploy|publish|pay|checkout|charge|order|subscribe|unsubscribe|confirm|verify|activate|log-?out|sign-?out|log-?off|clean-?up|back-?up|restore|roll-?back|re-?index|re-?build|prune|vacuum|truncate|wipe|drop|rotate|revoke|refund|withdraw|transfer|exec|execute|dispatch|enqueue)(?=$|[-_./])/i

// The same of an API; as a page each of these is where people begin to do it.
const actsAsApi =
  /(^|[-_./])(add|create|update|save|upload|submit|register|invite|approve|accept|reject|decline|cancel|enable|disable|lock|unlock|grant|generate|provision|init|setup|install|upgrade|archive|expire|renew|redeem|vote|schedule|process|ingest|crawl|scrape|invoke|track|remind|warm-?up)(?=$|[-_./])/i

// A page that is shown when something fails, or that is there to fail: `/500` of Astro, the example that Sentry puts into an app.
const fails = /(^|[-_./])([45]\d\d|errors?|crash|throws?|panic|sentry-example-api|debug-sentry)(?=$|[-_./])/i

/**
 * A few of the known routes, of every kind some, the same ones for the same list. A route with parameters is asked with those that the build knew,
 * or not at all; an API only where a GET is known to be answered; one whose name says that it does something, or that it
 * fails, never.
 */
export function sampleRoutes(
  { routes, static: made }: Pick<RouteList, 'routes' | 'static'>,
  { settings, health, published, isAnswered }: SampleWishes,
): RouteSample {
  const known = routes.filter(({ kind }) => kind !== 'file').length
  const isHealthKnown = routes.some(({ path, kind }) => kind !== 'file' && path === health)
  if (settings === false) return { listed: [], listedInAll: 0, picked: [], known, isHealthKnown }
  const example = new Map(made.map(({ path, route }) => [route, path]))
  const except = settings.except.map((pattern) => ({ pattern, path: new PathPattern(pattern) }))
  const files = new Set(published.flatMap(({ path }) => addressesOf(path)))
  const isAsked = (route: string, path: string, kind: ListedRoute['kind']) =>
    path !== health &&
    !files.has(path) &&
    !isLeftAlone(route, kind) &&
    !except.some((one) => one.pattern === route || one.path.match(path))
  const candidates = routes
    .filter(({ kind, methods }) => kind !== 'file' && (methods?.includes('GET') ?? false))
    .flatMap(({ path, kind, rendering }) => {
      const concrete = hasParams(path) ? example.get(path) : path
      return concrete !== undefined && isAsked(path, concrete, kind)
        ? [{ path: inRequest(concrete), kind, rendering }]
        : []
    })
  const listed = settings.paths.filter((path) => !files.has(plainOf(path)) && !isAnswered(path))
  const picked = pick(
    candidates.filter(({ path }) => !listed.includes(path)),
    settings.sample,
  )
  return { listed, listedInAll: settings.paths.length, picked, known, isHealthKnown }
}

/** Whether a file answers at this path, as the edge looks it up. */
export function hasFileFor(path: string, pages: Page[]): boolean {
  const plain = plainOf(path)
  return pages.some((page) => addressesOf(page.path).includes(plain))
}

function isLeftAlone(route: string, kind: ListedRoute['kind']): boolean {
  const inWords = route.replace(/([a-z0-9])([A-Z])/g, '$1-$2')
  return acts.test(inWords) || fails.test(inWords) || (kind === 'api' && actsAsApi.test(inWords))
}

function plainOf(path: string): string {
  return decoded(path.replace(/[?#].*$/, ''))
}

type Candidate = RouteSample['picked'][number] & Pick<ListedRoute, 'rendering'>

// What the build has made already can fail least: it comes last. Of the others two pages for each API.
function pick(candidates: Candidate[], most: number): RouteSample['picked'] {
  const isMade = ({ rendering }: Candidate) => rendering === 'static' || rendering === 'revalidated'
  const live = candidates.filter((one) => !isMade(one))
  const pages = live.filter(({ kind }) => kind === 'page')
  const apis = live.filter(({ kind }) => kind === 'api')
  const fewerApis = Math.min(apis.length, Math.max(Math.floor(most / 3), most - pages.length))
  const chosen = [...spread(pages, most - fewerApis), ...spread(apis, fewerApis)]
  const filled = [...chosen, ...spread(candidates.filter(isMade), most - chosen.length)]
  return filled.map(({ path, kind }) => ({ path, kind }))
}

// From the whole length of a list.
function spread<T>(list: T[], most: number): T[] {
  if (list.length <= most) return list
  return Array.from({ length: Math.max(most, 0) }, (_, at) => list[Math.floor((at * list.length) / most)]).filter(
    (item) => item !== undefined,
  )
}

function addressesOf(file: string): string[] {
  const page = /^(.*?)(\/?)(index)?\.html$/.exec(`/${file}`)
  if (!page) return [`/${file}`]
  const [, path = '', slash = '', index] = page
  return index && slash ? [`/${file}`, path || '/', `${path}/`] : [`/${file}`, `/${file}`.slice(0, -'.html'.length)]
}

function inRequest(path: string): string {
  return /%[0-9a-f]{2}/i.test(path) ? path : path.toWellFormed().split('/').map(encodeURIComponent).join('/')
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (thrown) {
    if (thrown instanceof URIError) return path
    throw thrown
  }
}
