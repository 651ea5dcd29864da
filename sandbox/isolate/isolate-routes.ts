// What a fetch app says of its own routes, as Hono, Elysia and itty-router keep them. It runs in the app's thread, on the app's objects: what comes
// of it is the app's word. No imports.

/** A method, a path as the framework writes it, and whether it hands requests on to others. */
export type AppRoute = [method: string, path: string, isMiddleware: boolean]

const mostRoutes = 10_000
const longestPath = 300

/** The routes of what an app exports; null: it keeps no list that is known. Throws what the app's own objects throw. */
export function routesOf(app: unknown): AppRoute[] | null {
  const routes = property(app, 'routes')
  if (!Array.isArray(routes)) return null
  return routes.slice(0, mostRoutes).flatMap((route) => readRoute(route) ?? [])
}

function readRoute(route: unknown): AppRoute[] | null {
  // itty-router: [method, expression, handlers, path]
  const [method, path] = Array.isArray(route)
    ? [route[0], route[3]]
    : [property(route, 'method'), property(route, 'path')]
  if (typeof method !== 'string' || typeof path !== 'string' || path.length > longestPath) return null
  return [[method.slice(0, 20), path, handsOn(property(route, 'handler'))]]
}

// As Hono tells them apart: a handler takes the context, a middleware also what comes next. One of an app mounted in another is wrapped.
function handsOn(handler: unknown): boolean {
  let inner = handler
  for (let depth = 0; depth < 20; depth++) {
    const composed = property(inner, '__COMPOSED_HANDLER')
    if (typeof composed !== 'function') break
    inner = composed
  }
  return typeof inner === 'function' && inner.length > 1
}

function property(from: unknown, name: string): unknown {
  return (typeof from === 'object' && from !== null) || typeof from === 'function' ? Reflect.get(from, name) : undefined
}
