import type { Route, RoutedDeployment } from '../registry/routes.ts'
import type { EdgeRoute, RouteChange } from './edge-messages.ts'
import type { LocalRef } from './hosts/local-deployment.ts'

/** The route table as the registry last told it. */
export class KnownRoutes {
  #routes = new Map<string, Route>()

  all(): Route[] {
    return [...this.#routes.values()]
  }

  /**
   * Takes the whole table as it was read, and returns what is different, or null. A route whose generation is lower than the one known
   * keeps the known one: generations only go up, so the reader was behind (security.md §3, invariant 4).
   */
  replace(routes: Route[]): RouteChange<Route> | null {
    const next = new Map<string, Route>()
    const changed: Route[] = []
    for (const route of routes) {
      const known = this.#routes.get(route.id)
      const isCurrent = known !== undefined && known.generation >= route.generation && known.label === route.label
      next.set(route.id, isCurrent ? known : route)
      if (!isCurrent) changed.push(route)
    }
    const gone = [...this.#routes.keys()].filter((id) => !next.has(id))
    if (changed.length + gone.length === 0) return null
    this.#routes = next
    return { changed, gone }
  }
}

/** The deployments a route names, live first, the one kept warm last. */
export function routedDeployments(route: Route): LocalRef[] {
  const { appId, environment, label } = route
  return [route.live, route.candidate, route.warm].flatMap((deployment) =>
    deployment ? [{ ...deployment, appId, environment, label }] : [],
  )
}

/** The route as edge processes are told of it. */
export function edgeRoute(route: Route): EdgeRoute {
  const { warm: _, ...rest } = route
  return {
    ...rest,
    live: route.live && withoutEnv(route.live),
    candidate: route.candidate && withoutEnv(route.candidate),
  }
}

function withoutEnv({ envSnapshot: _, ...rest }: RoutedDeployment): Omit<RoutedDeployment, 'envSnapshot'> {
  return rest
}
