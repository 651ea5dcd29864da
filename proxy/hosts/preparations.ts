import { reportPrepared, wantedPreparations } from '../../registry/edges.ts'
import { AppError, messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { readRoutedDeployment } from '../../registry/routes.ts'
import type { Sql } from '../../registry/sql.ts'
import { checkHealth } from './health.ts'
import type { LocalDeployment } from './local-deployment.ts'
import type { LocalDeployments } from './local-deployments.ts'

export type PreparationsDeps = {
  sql: Sql
  edgeId: string
  deployments: LocalDeployments
  log: Log
  appsDomain: string
}

// As long as a prepared deployment waits for its flip: longer than the worker waits, and than a gateway takes to move a ref.
const heldMs = 10 * 60_000

/**
 * Prepare, then flip: deployments this edge was asked to load, start and check before they get traffic. What was prepared is held
 * running until a route names it, it has ended, or nobody came for it.
 */
export class Preparations {
  /** Called when a deployment is no longer held. */
  onChange: () => void = () => undefined
  readonly #deps: PreparationsDeps
  readonly #held = new Map<string, number>()
  readonly #underWay = new Set<string>()

  constructor(deps: PreparationsDeps) {
    this.#deps = deps
  }

  /** Ids to keep besides the routed ones. */
  held(): string[] {
    const now = performance.now()
    for (const [id, until] of this.#held) if (until < now) this.#held.delete(id)
    return [...this.#held.keys()]
  }

  /** Begins what is asked for and not under way. Returns before they are done. */
  async begin(): Promise<void> {
    const { sql, edgeId, log } = this.#deps
    for (const id of await wantedPreparations(sql, edgeId)) {
      if (this.#underWay.has(id)) continue
      this.#underWay.add(id)
      void this.#prepare(id)
        .catch((thrown: unknown) => log.warn({ deployment: id, err: thrown }, 'preparation not reported'))
        .finally(() => this.#underWay.delete(id))
    }
  }

  /** A route names it: it is no longer held for its own sake. */
  settled(id: string): void {
    this.#held.delete(id)
  }

  /** It will not be put before users. */
  release(id: string): void {
    if (this.#held.delete(id)) this.onChange()
  }

  async #prepare(id: string): Promise<void> {
    const { sql, edgeId, log } = this.#deps
    const startedAt = performance.now()
    const reason = await this.#problemOf(id)
    log.info(
      { deployment: id, ready: reason === null, reason, ms: Math.round(performance.now() - startedAt) },
      'prepared',
    )
    if (reason !== null) this.release(id)
    await reportPrepared(sql, { edgeId, deploymentId: id, ready: reason === null, reason })
  }

  // What keeps the deployment from serving, in words for the person who pushed it; null when it is ready.
  async #problemOf(id: string): Promise<string | null> {
    try {
      const ref = await readRoutedDeployment(this.#deps.sql, id)
      if (!ref) throw new AppError('VERSION_PRUNED', 'its bundle is no longer kept')
      this.#held.set(id, performance.now() + heldMs)
      const deployment = this.#deps.deployments.want(ref)
      await deployment.awake(() => this.#check(deployment))
      return null
    } catch (thrown) {
      return messageOf(thrown)
    }
  }

  async #check(deployment: LocalDeployment): Promise<void> {
    const { host, manifest } = await deployment.whenLoaded()
    if (!host) return
    if (!host.place()) await host.started()
    const { socketPath, speaks } = await host.whenUp(manifest.health.timeout_sec * 1000)
    const label = `${deployment.ref.label}.${this.#deps.appsDomain}`
    await checkHealth({ socketPath, speaks, health: manifest.health, host: label })
  }
}
