import { z } from 'zod'
import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { RetainedBundle, RetainedRoute } from '../../registry/retained.ts'
import type { Route } from '../../registry/routes.ts'
import { responseHeaders } from '../edge/deployment.ts'
import type { RouteChange, ToEdge } from '../edge-messages.ts'
import { readIfThere, writeWhole } from './durable-file.ts'
import type { LocalBundles } from './local-bundles.ts'

export type RetainedBundlesDeps = {
  /** Where they are listed on disk. */
  path: string
  bundles: LocalBundles
  tell: (message: ToEdge) => void
  log: Log
}

type Known = Omit<RetainedRoute, 'routeId'> & { current: RetainedBundle[] }

// Longer than a read of the registry takes: what has left a route since it began is not in it.
const freshMs = 60_000
const mostPerRoute = 500

const bundle = z.object({
  id: z.string().regex(/^[a-z0-9]{6,32}$/),
  version: z.string(),
  manifestKey: z.string(),
  manifestSha256: z.string().regex(/^[0-9a-f]{64}$/),
})
const listed = z.array(
  z.object({
    routeId: z.string(),
    appId: z.string().regex(/^[a-z][a-z0-9-]{0,37}$/),
    environment: z.enum(['production', 'preview']),
    bundles: z.array(bundle),
  }),
)

/**
 * Which bundles of each route keep their files on this machine because pages of theirs may still be open: as the registry lists them, and
 * from the moment a deployment leaves its route, before the edges are told of the flip. The list is on disk, for a start without Postgres.
 */
export class RetainedBundles {
  readonly #deps: RetainedBundlesDeps
  readonly #routes = new Map<string, Known>()
  readonly #leftAt = new Map<string, number>()
  #writing: Promise<void> = Promise.resolve()
  #following: Promise<void> = Promise.resolve()

  constructor(deps: RetainedBundlesDeps) {
    this.#deps = deps
  }

  /** Takes the list of the last run, and what its routes named. */
  async restore(routes: Route[]): Promise<void> {
    const { path, log } = this.#deps
    const text = (await readIfThere(path))?.toString('utf8')
    try {
      for (const { routeId, ...known } of text === undefined ? [] : listed.parse(JSON.parse(text)))
        this.#routes.set(routeId, { ...known, current: [] })
    } catch (thrown) {
      log.error({ file: path, reason: messageOf(thrown) }, 'list of retained bundles is not valid')
    }
    for (const route of routes) this.#know(route).current = currentOf(route)
  }

  /** Takes a change of the routes: what they no longer name is retained. To be called before the edges go by it. */
  change({ changed, gone }: RouteChange<Route>): void {
    for (const id of gone) if (this.#routes.delete(id)) this.#deps.tell({ type: 'retained', routeId: id, bundles: [] })
    for (const route of changed) {
      const known = this.#know(route)
      const current = currentOf(route)
      const left = known.current.filter(({ id }) => !current.some((now) => now.id === id))
      for (const { id } of left) this.#leftAt.set(id, performance.now())
      this.#retain(route.id, { current, bundles: [...left, ...known.bundles] })
    }
    this.#write()
  }

  /** Takes the registry's list, bringing the manifests that are not here. Returns at once. */
  follow(list: RetainedRoute[]): void {
    this.#following = this.#following
      .then(() => this.#follow(list))
      .catch((thrown: unknown) => this.#deps.log.error({ err: thrown }, 'retained bundles not followed'))
  }

  isRetained(id: string): boolean {
    return [...this.#routes.values()].some(({ bundles }) => bundles.some((bundle) => bundle.id === id))
  }

  /** What an edge process that begins must know. */
  told(): ToEdge[] {
    return [...this.#routes.keys()].flatMap((routeId) => this.#message(routeId) ?? [])
  }

  async close(): Promise<void> {
    await this.#following
    await this.#writing
  }

  async #follow(list: RetainedRoute[]): Promise<void> {
    const { bundles, log } = this.#deps
    const byRoute = new Map(list.map((route) => [route.routeId, route]))
    // The list may be here before the routes are.
    for (const { routeId, appId, environment } of list)
      if (!this.#routes.has(routeId)) this.#routes.set(routeId, { appId, environment, bundles: [], current: [] })
    for (const [routeId, known] of [...this.#routes]) {
      const { appId } = known
      const wanted = byRoute.get(routeId)?.bundles ?? []
      const here: RetainedBundle[] = []
      for (const bundle of wanted) {
        try {
          await bundles.bringManifest({ ...bundle, appId })
          here.push(bundle)
        } catch (thrown) {
          log.warn({ app: appId, version: bundle.version, reason: messageOf(thrown) }, 'retained bundle not brought')
        }
      }
      const fresh = known.bundles.filter(({ id }) => performance.now() - (this.#leftAt.get(id) ?? -freshMs) < freshMs)
      this.#retain(routeId, { current: known.current, bundles: [...fresh, ...here] })
    }
    for (const [id, at] of this.#leftAt) if (performance.now() - at >= freshMs) this.#leftAt.delete(id)
    this.#write()
  }

  #know({ id, appId, environment }: Route): Known {
    const known = this.#routes.get(id) ?? { appId, environment, bundles: [], current: [] }
    this.#routes.set(id, known)
    return known
  }

  // One build may have been deployed several times, and be live again.
  #retain(routeId: string, { current, bundles }: Pick<Known, 'current' | 'bundles'>): void {
    const known = this.#routes.get(routeId)
    if (!known) return
    const before = JSON.stringify(this.#message(routeId))
    const seen = new Set(current.map(({ manifestKey }) => manifestKey))
    known.current = current
    known.bundles = bundles
      .filter(({ manifestKey }) => !seen.has(manifestKey) && seen.add(manifestKey))
      .slice(0, mostPerRoute)
    const message = this.#message(routeId)
    if (JSON.stringify(message) !== before) this.#deps.tell(message ?? { type: 'retained', routeId, bundles: [] })
  }

  // Both arms of a rollout stand for each other; a route with one deployment that never had another needs nothing.
  #message(routeId: string): (ToEdge & { type: 'retained' }) | null {
    const known = this.#routes.get(routeId)
    if (!known || known.bundles.length + known.current.length < 2) return null
    const { appId, environment } = known
    const bundles = [...known.current, ...known.bundles].map(({ id, version }) => ({
      manifestPath: this.#deps.bundles.manifestPath(appId, id),
      headers: responseHeaders({ version, environment }),
    }))
    return { type: 'retained', routeId, bundles }
  }

  #write(): void {
    this.#writing = this.#writing.then(async () => {
      const list = [...this.#routes].map(([routeId, { current: _, ...known }]) => ({ routeId, ...known }))
      const kept = list.filter(({ bundles }) => bundles.length > 0)
      try {
        await writeWhole(this.#deps.path, JSON.stringify(kept))
      } catch (thrown) {
        this.#deps.log.error({ err: thrown }, 'list of retained bundles cannot be written')
      }
    })
  }
}

function currentOf({ live, candidate }: Route): RetainedBundle[] {
  return [live, candidate].flatMap((deployment) => {
    if (!deployment) return []
    const { id, version, manifestKey, manifestSha256 } = deployment
    return [{ id, version, manifestKey, manifestSha256 }]
  })
}
