import type { Log } from '../registry/log.ts'
import type { Route } from '../registry/routes.ts'
import type { Deployments } from './deployments.ts'
import type { LocalBundles } from './local-bundles.ts'
import type { Preparations } from './preparations.ts'
import type { RouteSnapshots } from './route-snapshot.ts'
import { type RouteTable, routedDeployments } from './route-table.ts'

export type ResidentsDeps = {
  table: RouteTable
  snapshots: RouteSnapshots
  deployments: Deployments
  preparations: Preparations
  bundles: LocalBundles
  log: Log
}

const pruneEveryMs = 60_000

/** Who lives on this edge: what routes name and what is being prepared. Everybody else drains, stops, and in time leaves the disk. */
export class Residents {
  readonly #deps: ResidentsDeps
  #prunedAt = Number.NEGATIVE_INFINITY
  #isPruning = false

  constructor(deps: ResidentsDeps) {
    this.#deps = deps
    deps.preparations.onChange = () => this.settle()
  }

  /** Takes the routes of the last run, from disk. */
  async restore(): Promise<void> {
    const routes = await this.#deps.snapshots.read()
    if (routes) this.#deps.table.replace(routes)
  }

  /** Takes the route table as the registry has it now: new requests go by it at once. */
  follow(routes: Route[]): void {
    const { table, snapshots, log } = this.#deps
    const isChanged = table.replace(routes)
    if (isChanged) {
      snapshots.write(table.routes())
      log.info({ routes: table.routes().length }, 'routes changed')
    }
    this.settle()
    void this.#prune()
  }

  /** Loads who is missing and drains who is no longer wanted. */
  settle(): void {
    const { table, deployments, preparations } = this.#deps
    const routed = table.routes().flatMap(routedDeployments)
    for (const ref of routed) {
      deployments.want(ref)
      preparations.settled(ref.id)
    }
    deployments.keepOnly(new Set([...routed.map(({ id }) => id), ...preparations.held()]))
  }

  // Only with a route table that came from the registry: what an old snapshot does not name may still be wanted.
  async #prune(): Promise<void> {
    if (this.#isPruning || performance.now() - this.#prunedAt < pruneEveryMs) return
    this.#isPruning = true
    const { table, deployments, bundles, log } = this.#deps
    const apps = new Set(table.routes().map(({ appId }) => appId))
    try {
      await bundles.prune({ apps, isWanted: (id) => deployments.find(id) !== null })
    } catch (thrown) {
      log.error({ err: thrown }, 'local bundles not pruned')
    } finally {
      this.#isPruning = false
      this.#prunedAt = performance.now()
    }
  }
}
