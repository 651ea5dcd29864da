import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../registry/config.ts'
import { AppError, messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { describeIsolation, type Isolation, isWeakerThan } from './isolation.ts'

export type IsolationWatchDeps = {
  /** Runs the escape suite. */
  prove: () => Promise<Isolation>
  setting: Config['isolation']
  /** Keeps what was proved, each time it was; called again until it does not throw. */
  keep: (isolation: Isolation) => Promise<void>
  log: Log
  /** Before the first proof, so that it takes no time from what starts; nothing is waited for where it is required. */
  delayMs?: number
  periodMs?: number
}

const provenForMs = 10 * 60_000
const keepAgainMs = 2000

/**
 * Knows how far what this part of the platform starts is walled off: proved when it is made and every ten minutes after, for a machine is
 * changed while it runs (a sysctl, an upgrade). Nobody is kept waiting by it but those who ask.
 */
export class IsolationWatch {
  readonly #deps: IsolationWatchDeps
  readonly #closing = new AbortController()
  readonly #first = Promise.withResolvers<Isolation>()
  readonly #running: Promise<void>
  #latest: Isolation | null = null

  constructor(deps: IsolationWatchDeps) {
    this.#deps = deps
    this.#running = this.#run()
  }

  /** What was proved last. */
  async current(): Promise<Isolation> {
    return this.#latest ?? this.#first.promise
  }

  /** Throws ISOLATION_WEAK, with what to do, when what was proved is weaker than ATELIER_ISOLATION requires. */
  async demand(): Promise<void> {
    if (this.#deps.setting !== 'require') return
    const isolation = await this.current()
    if (isWeakerThan(isolation.mode, 'strong')) throw tooWeak(isolation)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    // A database that hangs is not waited for.
    await Promise.race([this.#running, pause(keepAgainMs)])
  }

  async #run(): Promise<void> {
    const { setting, delayMs = 0, periodMs = provenForMs } = this.#deps
    if (setting !== 'require') await this.#pause(delayMs)
    while (!this.#closing.signal.aborted) {
      const isolation = await this.#deps.prove()
      this.#tell(isolation)
      this.#latest = isolation
      this.#first.resolve(isolation)
      await this.#keep(isolation)
      await this.#pause(periodMs)
    }
  }

  #tell({ mode, walls, holes, missing, advice }: Isolation): void {
    if (mode === this.#latest?.mode) return
    const isWorse = isWeakerThan(mode, this.#latest?.mode ?? 'strong')
    const facts = { mode, walls, holes, missing, ...(advice[0] && { next: advice[0] }) }
    this.#deps.log[isWorse ? 'warn' : 'info'](facts, 'isolation proved')
  }

  // The database may come up later than what is proved.
  async #keep(isolation: Isolation): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        return await this.#deps.keep(isolation)
      } catch (thrown) {
        this.#deps.log.debug({ err: messageOf(thrown) }, 'isolation not recorded, trying again')
        await this.#pause(keepAgainMs)
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await pause(ms, null, { signal: this.#closing.signal, ref: false }).catch(() => null)
  }
}

function tooWeak(isolation: Isolation): AppError {
  const next = isolation.advice[0] ?? 'see: atelier doctor'
  return new AppError(
    'ISOLATION_WEAK',
    `ATELIER_ISOLATION=require, and here ${describeIsolation(isolation)}. ${upperFirst(next)}; or set ATELIER_ISOLATION=warn for code you trust`,
  )
}

function upperFirst(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
