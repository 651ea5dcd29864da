import type { EventEmitter } from 'node:events'
import { Places } from '../../sandbox/isolate/isolate-places.ts'

/** Something that somebody waits for: a response, a socket. */
export type Ongoing = { destroy(): unknown }

// Longer than a WebSocket takes to say goodbye.
const cutMs = 2_000

/** What is in flight, so that whoever ends something can wait for the last of it, or cut it. */
export class InFlight {
  readonly #ongoing = new Places<Ongoing>()
  #waiting: (() => void)[] = []
  #begun = 0

  /** How many there have been. */
  get begun(): number {
    return this.#begun
  }

  get count(): number {
    return this.#ongoing.size
  }

  [Symbol.iterator](): Iterator<Ongoing> {
    return this.#ongoing[Symbol.iterator]()
  }

  /** Counts it until it closes. */
  add(one: Ongoing & EventEmitter): void {
    const place = this.begin(one)
    one.on('close', () => this.end(place))
  }

  /** Counts it until `end`, which is told what this returns. */
  begin(one: Ongoing): number {
    this.#begun++
    return this.#ongoing.take(one)
  }

  end(place: number): void {
    this.#ongoing.leave(place)
    if (this.#ongoing.size === 0 && this.#waiting.length > 0) for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Ends all of it now. Resolves when it is gone: those who are told first have a moment to answer. */
  async cut(): Promise<void> {
    for (const one of this.#ongoing) one.destroy()
    await this.drained(cutMs)
  }

  /** Resolves true when nothing is in flight, false after `deadlineMs` or on abort. */
  async drained(deadlineMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#ongoing.size === 0) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const done = () => resolve(true)
    const giveUp = () => resolve(false)
    this.#waiting.push(done)
    const timer = setTimeout(giveUp, deadlineMs)
    signal?.addEventListener('abort', giveUp)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
      this.#waiting = this.#waiting.filter((waiting) => waiting !== done)
    }
  }
}
