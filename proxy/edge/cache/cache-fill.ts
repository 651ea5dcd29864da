import type { CachedAnswer } from './cached-answer.ts'
import type { Slot } from './response-cache.ts'

/**
 * What became of a fetch. `passed`: the app's answer is not for the cache; `failed`: there was none, or one that says the app is broken;
 * `gone`: nobody saw it to its end, or it was purged meanwhile.
 */
export type Outcome =
  | { how: 'stored' | 'renewed'; slot: Slot; variant: string; answer: CachedAnswer }
  | { how: 'passed' | 'failed' | 'gone' }

/** What has not come whole after so long is not kept. */
export const longestFillMs = 120_000

/** An answer on its way into the cache. Those who want the same wait for it, up to a time counted from its beginning. */
export class Fill {
  waiting = 0
  /** Told when somebody begins to wait. */
  onWait: (() => void) | null = null
  readonly #startedAt = performance.now()
  readonly #over = Promise.withResolvers<Outcome>()

  end(outcome: Outcome): void {
    this.#over.resolve(outcome)
  }

  /** Null: it took longer than `withinMs` from when it began. */
  async outcome(withinMs: number): Promise<Outcome | null> {
    const leftMs = this.#startedAt + withinMs - performance.now()
    if (leftMs <= 0) return null
    const tooLong = Promise.withResolvers<null>()
    const timer = setTimeout(() => tooLong.resolve(null), leftMs)
    this.waiting++
    this.onWait?.()
    try {
      return await Promise.race([this.#over.promise, tooLong.promise])
    } finally {
      this.waiting--
      clearTimeout(timer)
    }
  }
}
