import {
  type ListedRoute,
  listedRoute,
  mostNotes,
  mostRoutes,
  type RouteList,
  type RouteMark,
  routePath,
} from '../../registry/route-list.ts'
import { shown } from './files.ts'
import { hasParams, RouteMatcher } from './route-path.ts'

/** A route as a framework's scan finds it; what is left out is not known. */
export type FoundRoute = Pick<ListedRoute, 'path' | 'kind'> & Partial<ListedRoute>

export type Scan = {
  from: RouteList['read_from']
  routes: FoundRoute[]
  /** Paths that the build has made ahead, as far as it is not to be seen by their files. */
  made: string[]
  notes: string[]
}

export const nothingFound = { from: 'nothing', routes: [], made: [], notes: [] } satisfies Scan

/** Gathers routes into a list within the bounds of routes.json; what does not fit is left out, and a note says so. */
export class RouteSet {
  readonly #routes = new Map<string, ListedRoute>()
  readonly #made = new Map<string, string>()
  readonly #notes = new Set<string>()
  #illegal = 0
  #tooMany = 0

  /** The first word on a route counts, but methods and marks come together. */
  add(found: FoundRoute): void {
    const read = listedRoute.safeParse({ ...unknown, ...found, title: found.title?.slice(0, 200) ?? null })
    if (read.success) this.#add(read.data)
    else this.#refuse(found.path)
  }

  #add(route: ListedRoute): void {
    const key = `${route.kind} ${route.path}`
    const known = this.#routes.get(key)
    if (known) merge(known, route)
    else if (this.#routes.size >= mostRoutes) this.#tooMany++
    else this.#routes.set(key, route)
  }

  note(text: string): void {
    if (this.#notes.size < mostNotes - 2) this.#notes.add(text.slice(0, 400))
  }

  /** Paths that are there from the build. One that no route answers is a page of its own if it comes from a file. */
  addMade(made: { path: string; source: string | null; title: string | null }[]): void {
    const matcher = new RouteMatcher([...this.#routes.values()])
    for (const { path, source, title } of made) {
      const route = matcher.match(path)
      if (!route && source === null) continue
      if (!route) this.add({ path, kind: 'page', methods: ['GET'], source, rendering: 'static', title })
      else if (route.rendering === null || isAnsweredByFile(route, source)) route.rendering = 'static'
      if (!routePath.safeParse(path).success) this.#refuse(path)
      else if (this.#made.size < mostRoutes) this.#made.set(path, route?.path ?? path)
      else if (!this.#made.has(path)) this.#tooMany++
    }
  }

  list(framework: string, from: RouteList['read_from']): RouteList {
    const notes = [...this.#notes]
    if (this.#illegal > 0)
      notes.push(`${this.#illegal} ${plural(this.#illegal, 'route')} left out: not one line of text`)
    if (this.#tooMany > 0) notes.push(`${this.#tooMany} more are left out: a list has ${mostRoutes} at most`)
    return {
      framework,
      read_from: this.#routes.size === 0 && from !== 'app' ? 'nothing' : from,
      routes: [...this.#routes.values()].sort((a, b) => byText(a.path, b.path) || byText(a.kind, b.kind)),
      static: [...this.#made].map(([path, route]) => ({ path, route })).sort((a, b) => byText(a.path, b.path)),
      notes,
    }
  }

  #refuse(path: string): void {
    this.#illegal++
    this.note(`left out: ${shown(path)}`)
  }
}

const unknown = {
  methods: null,
  source: null,
  rendering: null,
  revalidate_sec: null,
  marks: [] satisfies RouteMark[],
  title: null,
}

// The edge looks up its files first, whatever code there is for the path.
function isAnsweredByFile({ path, rendering }: ListedRoute, source: string | null): boolean {
  return source !== null && rendering === 'dynamic' && !hasParams(path)
}

function merge(known: ListedRoute, other: ListedRoute): void {
  if (known.methods && other.methods) known.methods = [...new Set([...known.methods, ...other.methods])]
  known.marks = [...new Set([...known.marks, ...other.marks])]
  known.rendering ??= other.rendering
  known.title ??= other.title
}

export function plural(count: number, noun: string): string {
  return count === 1 ? noun : `${noun}s`
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
