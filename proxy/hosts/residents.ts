import type { Log } from '../../registry/log.ts'
import type { Route } from '../../registry/routes.ts'
import type { LocalBundles } from '../bundles/local-bundles.ts'
import type { RetainedBundles } from '../bundles/retained-bundles.ts'
import type { EdgePool } from '../edge-pool.ts'
import { type KnownRoutes, routedDeployments } from '../known-routes.ts'
import type { RouteSnapshots } from '../route-snapshot.ts'
import type { LocalDeployments } from './local-deployments.ts'
import type { Pins } from './pins.ts'
import type { Preparations } from './preparations.ts'

export type ResidentsDeps = {
  known: KnownRoutes
  edges: EdgePool
  snapshots: RouteSnapshots
  deployments: LocalDeployments
  preparations: Preparations
  pins: Pins
  bundles: LocalBundles
  retained: RetainedBundles
  /** Whether somebody's command runs in it, which may be none of those. */
  isRunIn: (deploymentId: string) => boolean
  log: Log
}

const pruneEveryMs = 60_000

/** Who lives on this machine: what routes name and what is being prepared. Everybody else drains, stops, and in time leaves the disk. */
export class Residents {
  readonly #deps: ResidentsDeps
  #prunedAt = Number.NEGATIVE_INFINITY
  #isPruning = false
  #hasFollowed = false

  constructor(deps: ResidentsDeps) {
    this.#deps = deps
    deps.preparations.onChange = () => this.settle()
  }

  /** Takes the routes of the last run, from disk. */
  async restore(): Promise<void> {
    const routes = await this.#deps.snapshots.read()
    if (routes) this.#deps.known.replace(routes)
    await this.#deps.retained.restore(routes ?? [])
  }

  /**
   * Takes the route table as the registry has it now: new requests go by it at once. Resolves when that is so in every edge process.
   */
  follow(routes: Route[]): Promise<void> {
    const { known, edges, retained, snapshots, log } = this.#deps
    const change = known.replace(routes)
    if (change) retained.change(change)
    const seen = edges.follow(change)
    if (change) {
      snapshots.write(known.all())
      log.info({ routes: known.all().length }, 'routes changed')
    }
    this.settle()
    // At a start everything may be new, and most of it unused: but for those between whom it is to be told who is slower.
    if (!this.#hasFollowed) this.#wake(known.all().filter(isCompared))
    else if (change) this.#wake(change.changed)
    this.#hasFollowed = true
    void this.#prune()
    return seen
  }

  // Who has just been put before users is started without waiting for the first of them.
  #wake(changed: Route[]): void {
    const { deployments, log } = this.#deps
    for (const ref of changed.flatMap(routedDeployments)) {
      const deployment = deployments.find(ref.id)
      deployment?.whenLoaded().then(
        () => deployment.wake(),
        (thrown: unknown) => log.debug({ deployment: ref.id, err: thrown }, 'not woken'),
      )
    }
  }

  /** Loads who is missing and drains who is no longer wanted. */
  settle(): void {
    const { known, deployments, preparations, pins } = this.#deps
    const routed = known.all().flatMap(routedDeployments)
    for (const ref of routed) {
      deployments.want(ref)
      preparations.settled(ref.id)
    }
    deployments.keepAwake(
      new Set(
        known
          .all()
          .filter(isCompared)
          .flatMap(routedDeployments)
          .map(({ id }) => id),
      ),
    )
    deployments.keepOnly(new Set([...routed.map(({ id }) => id), ...preparations.held(), ...pins.held()]))
  }

  // Only with a route table that came from the registry: what an old snapshot does not name may still be wanted.
  async #prune(): Promise<void> {
    if (this.#isPruning || performance.now() - this.#prunedAt < pruneEveryMs) return
    this.#isPruning = true
    const { known, deployments, bundles, retained, isRunIn, log } = this.#deps
    const apps = new Set(known.all().map(({ appId }) => appId))
    try {
      await bundles.prune({
        apps,
        isWanted: (id) => deployments.find(id) !== null || isRunIn(id),
        isRetained: (id) => retained.isRetained(id),
      })
    } catch (thrown) {
      log.error({ err: thrown }, 'local bundles not pruned')
    } finally {
      this.#isPruning = false
      this.#prunedAt = performance.now()
    }
  }
}

// A share of the traffic may be so little that an arm would fall asleep between two visitors, and be slow for that.
function isCompared({ rollout }: Route): boolean {
  return rollout !== null
}
