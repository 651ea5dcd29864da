import { type RouteMethod, routeMethods } from '../../registry/route-list.ts'
import type { AppRoute } from '../../sandbox/isolate/isolate.ts'
import type { FoundRoute } from './route-set.ts'

/** What a fetch app has said of itself (Hono, Elysia, itty-router) as routes. Middleware is none. */
export function fromAppRoutes(said: AppRoute[]): FoundRoute[] {
  return said
    .filter(([method, , isMiddleware]) => !(isMiddleware && method === 'ALL'))
    .map(([method, path]) => ({ path: readPath(path), kind: 'api', methods: methodsOf(method), rendering: 'dynamic' }))
}

function methodsOf(method: string): RouteMethod[] | null {
  if (method === 'ALL') return null
  return routeMethods.filter((name) => name === method.toUpperCase())
}

// Hono's `/:id{[0-9]+}`: what a parameter may look like is no part of its name. `*` at the end of a path is the rest.
function readPath(path: string): string {
  let depth = 0
  const plain = [...path].filter((character) => {
    if (character === '{') depth++
    const isKept = depth === 0
    if (character === '}' && depth > 0) depth--
    return isKept
  })
  return `/${plain.join('')}`.replace(/\/{2,}/g, '/')
}
