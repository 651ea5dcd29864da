import type { Route, RoutedDeployment } from '../registry/routes.ts'
import type { DeploymentRef } from './deployment.ts'

/** Parts of the platform that answer at `<name>.<domain>`. */
export type ReservedName = 'git' | 'api' | 'console'
export type Target = { reserved: ReservedName } | { route: Route }

const reservedNames: ReservedName[] = ['git', 'api', 'console']

/** Which host leads where: one Map look-up a request. */
export class RouteTable {
  readonly #appsDomain: string
  readonly #reserved: Map<string, Target>
  #byHost: Map<string, Target>
  #routes = new Map<string, Route>()

  constructor({ domain, appsDomain }: { domain: string; appsDomain: string }) {
    this.#appsDomain = appsDomain
    this.#reserved = new Map(reservedNames.map((reserved) => [`${reserved}.${domain}`, { reserved }]))
    this.#byHost = new Map(this.#reserved)
  }

  find(host: string): Target | null {
    return this.#byHost.get(host) ?? null
  }

  routes(): Route[] {
    return [...this.#routes.values()]
  }

  /**
   * Takes the whole table as it was read. A route whose generation is lower than the one known keeps the known one: generations only go up,
   * so the reader was behind (security.md §3, invariant 4). Returns whether anything is different.
   */
  replace(routes: Route[]): boolean {
    const next = new Map<string, Route>()
    let isChanged = routes.length !== this.#routes.size
    for (const route of routes) {
      const known = this.#routes.get(route.id)
      const isCurrent = known !== undefined && known.generation >= route.generation && known.label === route.label
      next.set(route.id, isCurrent ? known : route)
      isChanged ||= !isCurrent
    }
    if (!isChanged) return false
    this.#routes = next
    const hosts = new Map(this.#reserved)
    for (const route of next.values()) {
      const host = `${route.label}.${this.#appsDomain}`
      if (!this.#reserved.has(host)) hosts.set(host, { route })
    }
    this.#byHost = hosts
    return true
  }
}

/** The deployments a route names, live first. */
export function routedDeployments(route: Route): DeploymentRef[] {
  return [route.live, route.candidate].flatMap((deployment) => (deployment ? [refOf(route, deployment)] : []))
}

export function refOf({ appId, environment, label }: Route, deployment: RoutedDeployment): DeploymentRef {
  return { ...deployment, appId, environment, label }
}
