import type { Config } from '../config.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { channels } from '../routes.ts'
import type { Sql } from '../sql.ts'
import { Wakeup } from '../wakeup.ts'
import { readEdgeTraffic } from './history.ts'
import { Leadership } from './leadership.ts'
import type { EdgeTraffic } from './moment.ts'
import { tick } from './tick.ts'
import { readWatched, type Watched } from './watched.ts'

export type ControllerDeps = {
  sql: Sql
  /** A pool of one connection for it alone; it is closed with it. */
  lockSql: Sql
  config: Config
  log: Log
}

const sweepEveryMs = 1_000
const trafficForMs = 30_000

/**
 * Leads the rollouts of the platform, while no other registry does: looks at every one each second, and at once at those that are new, that
 * somebody moved, whose candidate failed again or whose probes are answered. It keeps nothing that it could not read again: another one that takes
 * over goes on where this one stopped.
 */
export class RolloutController {
  readonly #deps: ControllerDeps
  readonly #stopping = new AbortController()
  readonly #leadership: Leadership
  readonly #wakeup = new Wakeup()
  readonly #woken = new Set<string>()
  readonly #traffic = new Map<string, { at: number; traffic: EdgeTraffic }>()
  readonly #running: Promise<void>
  #sweptAt = Number.NEGATIVE_INFINITY
  #isDown = false

  constructor(deps: ControllerDeps) {
    this.#deps = deps
    const { lockSql, log } = deps
    this.#leadership = new Leadership({ lockSql, log, onChange: () => this.#sweepSoon() })
    this.#listen(channels.rollouts)
    this.#listen(channels.rolloutReports)
    this.#running = this.#run()
  }

  /** Resolves when the look under way is over and the lock is given back. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#leadership.close()
  }

  // The driver subscribes again after every lost connection; something may have been missed then.
  #listen(channel: string): void {
    const onPayload = (id: string) => {
      this.#woken.add(id)
      this.#wakeup.wake()
    }
    this.#deps.sql
      .listen(channel, onPayload, () => this.#sweepSoon())
      .catch((thrown: unknown) => this.#noteDown(thrown))
  }

  #sweepSoon(): void {
    this.#sweptAt = Number.NEGATIVE_INFINITY
    this.#wakeup.wake()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const epoch = this.#leadership.epoch
      if (epoch !== null) await this.#look(epoch)
      const sinceSweepMs = performance.now() - this.#sweptAt
      const timeoutMs = Math.min(sweepEveryMs, Math.max(0, sweepEveryMs - sinceSweepMs))
      await this.#wakeup.next({ timeoutMs: epoch === null ? sweepEveryMs : timeoutMs, signal })
    }
  }

  async #look(epoch: number): Promise<void> {
    const isSweep = performance.now() - this.#sweptAt >= sweepEveryMs
    const ids = isSweep ? null : [...this.#woken]
    this.#woken.clear()
    if (ids?.length === 0) return
    if (isSweep) this.#sweptAt = performance.now()
    try {
      const watched = await readWatched(this.#deps.sql, ids)
      for (const one of watched) await this.#tick(one, epoch)
      if (isSweep) this.#forget(watched)
      this.#noteUp()
    } catch (thrown) {
      this.#noteDown(thrown)
    }
  }

  // One rollout that cannot be looked at keeps no other waiting.
  async #tick(watched: Watched, epoch: number): Promise<void> {
    if (this.#stopping.signal.aborted) return
    const { sql, config, log } = this.#deps
    try {
      await tick(watched, { sql, config, log, epoch, traffic: await this.#readTraffic(watched.routeId) })
    } catch (thrown) {
      const fields = { err: thrown, app: watched.appId, deployment: watched.toDeployment, rollout: watched.id }
      log.error(fields, 'rollout not looked at, tried again')
    }
  }

  async #readTraffic(routeId: string): Promise<EdgeTraffic> {
    const known = this.#traffic.get(routeId)
    if (known && performance.now() - known.at < trafficForMs) return known.traffic
    const traffic = await readEdgeTraffic(this.#deps.sql, routeId)
    this.#traffic.set(routeId, { at: performance.now(), traffic })
    return traffic
  }

  #forget(watched: readonly Watched[]): void {
    const open = new Set(watched.map(({ routeId }) => routeId))
    for (const routeId of this.#traffic.keys()) if (!open.has(routeId)) this.#traffic.delete(routeId)
  }

  #noteUp(): void {
    if (this.#isDown) this.#deps.log.info('rollouts are looked at again')
    this.#isDown = false
  }

  #noteDown(thrown: unknown): void {
    if (!this.#isDown) this.#deps.log.warn({ reason: messageOf(thrown) }, 'rollouts cannot be looked at')
    this.#isDown = true
  }
}
