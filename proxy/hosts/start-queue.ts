import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'

// One that takes longer to come up no longer keeps others from starting.
const turnMs = 3_000

/**
 * Starts that nobody waits for, a few at a time: a machine that comes up with hundreds of apps would else start them all in the same
 * second. Whoever has a request is started beside it, at once.
 */
export class StartQueue {
  readonly #log: Log
  readonly #atOnce: number
  #waiting: (() => Promise<void>)[] = []
  #running = 0

  constructor({ atOnce, log }: { atOnce: number; log: Log }) {
    this.#atOnce = atOnce
    this.#log = log
  }

  add(start: () => Promise<void>): void {
    this.#waiting.push(start)
    this.#next()
  }

  /** Begins nothing more. */
  close(): void {
    this.#waiting = []
  }

  #next(): void {
    if (this.#running >= this.#atOnce) return
    const start = this.#waiting.shift()
    if (!start) return
    this.#running++
    void this.#run(start).finally(() => {
      this.#running--
      this.#next()
    })
  }

  async #run(start: () => Promise<void>): Promise<void> {
    const started = start().catch((thrown: unknown) =>
      this.#log.debug({ reason: messageOf(thrown) }, 'host start failed'),
    )
    await Promise.race([started, pause(turnMs, null, { ref: false })])
  }
}
