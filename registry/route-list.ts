import { z } from 'zod'

// routes.json of a build: what it answers, as far as that can be read without asking it.

export const mostRoutes = 10_000
export const mostNotes = 20
export const longestRoutePath = 1024

export const routeMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/**
 * A path in one spelling, whatever the framework: `/blog/:slug` (one segment), `/:lang?/about` (one or none), `/docs/*path` (the rest;
 * `*path?`: or nothing). Not encoded, and one line.
 */
export const routePath = z
  .string()
  .max(longestRoutePath)
  .regex(/^\/[^\u0000-\u001f\u007f-\u009f\u2028\u2029\\]*$/)

export const listedRoute = z.object({
  path: routePath,
  /** `file`: one of the framework's own, as robots.txt. */
  kind: z.enum(['page', 'api', 'file']),
  /** Null: which are answered is for the app to know. */
  methods: z.array(z.enum(routeMethods)).max(routeMethods.length).nullable(),
  /** The file in the app that it comes from. */
  source: z.string().max(longestRoutePath).nullable(),
  /** When it is made: by the build, by the build and again when it is old, in part by the build, for each request. Null: not known. */
  rendering: z.enum(['static', 'revalidated', 'partial', 'dynamic']).nullable(),
  revalidate_sec: z.number().nonnegative().nullable(),
  marks: z.array(z.enum(['static-params', 'metadata', 'generated-metadata', 'use-cache', 'ppr'])),
  /** Of a page, where it is written as plain text. */
  title: z.string().max(200).nullable(),
})

export const routeList = z.object({
  framework: z.string(),
  /** What was read: what the build left, the app's own files, or the app itself as it ran. */
  read_from: z.enum(['build', 'source', 'app', 'nothing']),
  routes: z.array(listedRoute).max(mostRoutes),
  /** What the build has made ahead: a path without placeholders, and the route that it belongs to. */
  static: z.array(z.object({ path: routePath, route: routePath })).max(mostRoutes),
  /** What could not be read, a sentence each. */
  notes: z.array(z.string().max(400)).max(mostNotes),
})

export type ListedRoute = z.infer<typeof listedRoute>
export type RouteList = z.infer<typeof routeList>
export type RouteMark = ListedRoute['marks'][number]
export type RouteMethod = (typeof routeMethods)[number]

/** The short form that the manifest has. A program whose routes only it knows answers `/*`. */
export function summarizeRoutes(
  { routes, static: made }: RouteList,
  { hasServer }: { hasServer: boolean },
): { pages: string[]; api: string[]; static: string[] } {
  const pathsOf = (kind: ListedRoute['kind']) => routes.filter((route) => route.kind === kind).map(({ path }) => path)
  const [pages, api] = [pathsOf('page'), pathsOf('api')]
  const knowsNone = hasServer && routes.every(({ rendering }) => rendering === 'static')
  return { pages, api: knowsNone && api.length === 0 ? ['/*'] : api, static: made.map(({ path }) => path) }
}
