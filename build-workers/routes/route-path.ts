/**
 * A path of folders and files as frameworks write it, in the one spelling of routes.json: `[slug]`, `[[slug]]`, `[...slug]`, `[[...slug]]`, SvelteKit's
 * `[slug=matcher]` and a folder in round brackets, which is no part of the address.
 */
export function fromBrackets(path: string): string {
  const segments = path
    .split('/')
    .filter((segment) => segment !== '' && !/^\([^()]*\)$/.test(segment))
    .map(segmentFromBrackets)
  return `/${segments.join('/')}`
}

function segmentFromBrackets(segment: string): string {
  return segment
    .replace(/\[\[\.\.\.([^[\]=]*)(?:=[^[\]]*)?\]\]/g, '*$1?')
    .replace(/\[\.\.\.([^[\]=]*)(?:=[^[\]]*)?\]/g, '*$1')
    .replace(/\[\[([^[\]=]*)(?:=[^[\]]*)?\]\]/g, ':$1?')
    .replace(/\[([^[\]=]*)(?:=[^[\]]*)?\]/g, ':$1')
}

export function hasParams(path: string): boolean {
  return /[:*]/.test(path)
}

/** `/docs` and `/about` make `/docs/about`; `/docs` and `/` make `/docs`. */
export function under(base: string, path: string): string {
  const prefix = base.replace(/\/+$/, '')
  if (prefix === '') return path
  return path === '/' ? prefix : `${prefix}${path}`
}

const mostPatterns = 200
const mostSegments = 20
const mostOptionals = 3

/** Which route answers a path: the one without placeholders, else the most particular. Of very many patterns only the first are asked. */
export class RouteMatcher<T extends { path: string; kind: string }> {
  readonly #plain = new Map<string, T>()
  readonly #patterns: { route: T; segments: string[] }[]

  constructor(routes: T[]) {
    for (const route of routes) {
      // A page comes before an API of the same address.
      if (!hasParams(route.path) && (route.kind !== 'api' || !this.#plain.has(route.path)))
        this.#plain.set(route.path, route)
    }
    this.#patterns = routes
      .filter(({ path }) => hasParams(path))
      .map((route) => ({ route, segments: route.path.split('/').slice(1) }))
      .filter(({ segments }) => segments.length <= mostSegments && segments.filter(isOptional).length <= mostOptionals)
      .sort((a, b) => rank(a.segments).localeCompare(rank(b.segments)))
      .slice(0, mostPatterns)
  }

  match(path: string): T | null {
    const plain = this.#plain.get(path)
    if (plain) return plain
    const given = path.split('/').slice(1).filter(Boolean)
    return this.#patterns.find(({ segments }) => fits(segments, given))?.route ?? null
  }
}

// Text before a placeholder, a placeholder before the rest.
function rank(segments: string[]): string {
  return segments.map((segment) => (segment.includes('*') ? '2' : segment.includes(':') ? '1' : '0')).join('')
}

function fits(pattern: string[], given: string[], at = 0, taken = 0): boolean {
  const segment = pattern[at]
  if (segment === undefined) return taken === given.length
  if (segment.includes('*')) return taken < given.length || segment.endsWith('?')
  if (isOptional(segment) && fits(pattern, given, at + 1, taken)) return true
  const isTaken = taken < given.length && (segment.includes(':') || segment === given[taken])
  return isTaken && fits(pattern, given, at + 1, taken + 1)
}

function isOptional(segment: string): boolean {
  return segment.startsWith(':') && segment.endsWith('?')
}
