import { setTimeout as pause } from 'node:timers/promises'
import { isAnyDue, retryFetches } from '../due-heads.ts'
import { pruneDeliveries } from '../hook-deliveries.ts'
import { askFailingSoon } from '../repo-links.ts'
import { channels } from '../routes.ts'
import { every } from '../schedule.ts'
import { Wakeup } from '../wakeup.ts'
import { type DeployHeadDeps, deployHeads } from './deploy-head.ts'
import { type PollDeps, pollHosts } from './poll.ts'
import { removeLeftPreviews } from './sweep.ts'
import { type TellDeps, tellHosts } from './tell.ts'

/** `restMs`: after so long it looks although nobody has woken it. */
export type KeeperDeps = Omit<DeployHeadDeps & TellDeps & PollDeps, 'pollMs'> & { restMs?: number }

const passedOverMs = 20

/**
 * Keeps previews as they should be, from rows alone: what is new at a linked repository is deployed, what is over is taken down, and hosts are told. Three
 * loops that wait for none of each other: a host that is slow holds up its own news, and nothing else. Registries beside each other share the work by
 * locks of rows.
 */
export class PreviewKeeper {
  readonly #deps: KeeperDeps
  readonly #stop = new AbortController()
  readonly #loops: { close(): Promise<void> }[]
  #wakeup: Promise<Wakeup | null>
  #isNew = true

  constructor(deps: KeeperDeps) {
    this.#deps = deps
    const { log, config, sql, restMs = 5_000 } = deps
    const deploying = every(restMs, () => this.#deploy(), { log, name: 'heads' })
    const telling = every(restMs, () => this.#drain(() => tellHosts(deps)), { log, name: 'hosts told' })
    const sweeping = every(config.reconcileMs, () => this.#sweep(), { log, name: 'previews' })
    const polling = every(config.reconcileMs, () => this.#ask(), { log, name: 'hosts asked' })
    this.#loops = [deploying, telling, sweeping, polling]
    this.#wakeup = Wakeup.on(sql, [channels.repoHeads, channels.deployments]).catch(() => null)
    void this.#wakeUp(() => {
      deploying.soon()
      telling.soon()
      sweeping.soon()
      polling.soon()
    })
  }

  async close(): Promise<void> {
    this.#stop.abort()
    const wakeup = await this.#wakeup
    await wakeup?.close()
    await Promise.all(this.#loops.map((loop) => loop.close()))
  }

  async #drain(step: () => Promise<number>): Promise<void> {
    while (!this.#stop.signal.aborted && (await step()) > 0);
  }

  async #deploy(): Promise<void> {
    const { signal } = this.#stop
    await this.#drain(() => deployHeads(this.#deps))
    // One that was written to at that moment, as by who tells its host, was passed over, and nobody wakes us for it again.
    while (!signal.aborted && (await isAnyDue(this.#deps.sql))) {
      await pause(passedOverMs)
      await this.#drain(() => deployHeads(this.#deps))
    }
  }

  async #ask(): Promise<void> {
    // What kept us from a host may have been a setting, and who restarts us has changed it.
    if (this.#isNew) await askFailingSoon(this.#deps.sql)
    this.#isNew = false
    await pollHosts({ ...this.#deps, pollMs: this.#deps.config.repoPollMs })
  }

  async #sweep(): Promise<void> {
    await removeLeftPreviews(this.#deps)
    await retryFetches(this.#deps.sql)
    await pruneDeliveries(this.#deps.sql)
  }

  // Many changes in a row are one.
  async #wakeUp(wake: () => void): Promise<void> {
    const wakeup = await this.#wakeup
    const { signal } = this.#stop
    while (wakeup && !signal.aborted) {
      await wakeup.next({ timeoutMs: 60_000, signal })
      if (!signal.aborted) wake()
    }
  }
}
