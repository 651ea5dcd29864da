import type { EdgeRoute, EdgeRouted, RouteChange } from '../edge-messages.ts'
import type { DeploymentRef } from './deployment.ts'

/** Parts of the platform that answer at `<name>.<domain>`. */
export type ReservedName = 'git' | 'api' | 'console'
export type Target = { reserved: ReservedName } | { route: EdgeRoute }

const reservedNames: ReservedName[] = ['git', 'api', 'console']

/** Which host leads where: one Map look-up a request. */
export class RouteTable {
  readonly #appsDomain: string
  readonly #reserved: ReadonlySet<string>
  readonly #byHost: Map<string, Target>
  readonly #hosts = new Map<string, string>()

  constructor({ domain, appsDomain }: { domain: string; appsDomain: string }) {
    this.#appsDomain = appsDomain
    this.#byHost = new Map(reservedNames.map((reserved) => [`${reserved}.${domain}`, { reserved }]))
    this.#reserved = new Set(this.#byHost.keys())
  }

  find(host: string): Target | null {
    return this.#byHost.get(host) ?? null
  }

  /** Takes what is different, and costs as much as that: a flip among a thousand apps is one entry. */
  apply({ changed, gone }: RouteChange): void {
    // All that leaves before anything comes: a name may go from one route to another.
    for (const id of [...gone, ...changed.map((route) => route.id)]) {
      this.#byHost.delete(this.#hosts.get(id) ?? '')
      this.#hosts.delete(id)
    }
    for (const route of changed) {
      const host = `${route.label}.${this.#appsDomain}`
      if (this.#reserved.has(host)) continue
      this.#byHost.set(host, { route })
      this.#hosts.set(route.id, host)
    }
  }
}

export function refOf({ appId, environment, label }: EdgeRoute, { id, version }: EdgeRouted): DeploymentRef {
  return { id, version, appId, environment, label }
}
