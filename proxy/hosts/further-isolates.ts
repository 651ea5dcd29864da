import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../registry/errors.ts'
import type { Isolate } from '../../sandbox/isolate/isolate.ts'

export type FurtherIsolatesDeps = {
  /** Starts one, which may listen later. */
  launch: () => Promise<Isolate>
  startTimeoutMs: number
  /** There are more of them, or fewer. */
  onChange: () => void
  onLine: (line: string) => void
}

const seldomMs = 60_000
// Edge processes have long been told then that it is not to be used any more.
const leaveMs = 2_000
const leaveGraceMs = 30_000

/**
 * What takes requests of a deployment beside its first isolate, while there is much to do: each is a host process of its own, so the end of one
 * ends no request of another.
 */
export class FurtherIsolates {
  readonly #deps: FurtherIsolatesDeps
  #isolates: Isolate[] = []
  readonly #leaving = new Set<Isolate>()
  #growing: Promise<void> | null = null
  /** Launched, and does not listen yet. */
  #starting: Isolate | null = null
  #failedAt = Number.NEGATIVE_INFINITY
  #generation = 0

  constructor(deps: FurtherIsolatesDeps) {
    this.#deps = deps
  }

  get all(): readonly Isolate[] {
    return this.#isolates
  }

  /** Starts one more, unless one is starting or has just failed to. */
  async grow(): Promise<void> {
    if (this.#growing || performance.now() - this.#failedAt < seldomMs) return
    this.#growing = this.#growOnce().finally(() => {
      this.#growing = null
    })
    await this.#growing
  }

  /** Ends the newest, when what is on its way there has ended. */
  shrink(): void {
    const isolate = this.#isolates.pop()
    if (!isolate) return
    this.#deps.onLine(
      `less to do: ${this.#isolates.length + 1} ${this.#isolates.length === 0 ? 'isolate' : 'isolates'} now`,
    )
    this.#deps.onChange()
    this.#leaving.add(isolate)
    void isolate.exited.then(() => this.#leaving.delete(isolate))
    void pause(leaveMs, null, { ref: false }).then(() => isolate.stop(leaveGraceMs))
  }

  /** Ends all of them; one that does not listen yet has nothing to finish. */
  async stop(graceMs: number): Promise<void> {
    this.#generation++
    const all = [...this.#isolates.splice(0), ...this.#leaving]
    await Promise.all([this.#starting?.stop(0), this.#growing, ...all.map((isolate) => isolate.stop(graceMs))])
  }

  async #growOnce(): Promise<void> {
    const generation = this.#generation
    const isStopped = () => generation !== this.#generation
    try {
      const isolate = await this.#launchOne(isStopped)
      if (!isolate) return
      this.#isolates.push(isolate)
      void isolate.exited.then(({ error }) => this.#ended(isolate, error.message))
      this.#deps.onLine(`much to do: ${this.#isolates.length + 1} isolates now`)
      this.#deps.onChange()
    } catch (thrown) {
      if (isStopped()) return
      this.#failedAt = performance.now()
      this.#deps.onLine(`a further isolate did not start: ${messageOf(thrown).split('\n', 1)[0]}`)
    }
  }

  // Null: all were stopped meanwhile, and it with them.
  async #launchOne(isStopped: () => boolean): Promise<Isolate | null> {
    const isolate = await this.#deps.launch()
    this.#starting = isolate
    try {
      if (!isStopped()) await isolate.ready(this.#deps.startTimeoutMs)
      if (!isStopped()) return isolate
      await isolate.stop(0)
      return null
    } catch (thrown) {
      await isolate.stop(0)
      throw thrown
    } finally {
      this.#starting = null
    }
  }

  #ended(isolate: Isolate, why: string): void {
    if (!this.#isolates.includes(isolate)) return
    this.#isolates = this.#isolates.filter((one) => one !== isolate)
    this.#deps.onLine(`one of the isolates ended: ${why.split('\n', 1)[0]}`)
    this.#deps.onChange()
  }
}
