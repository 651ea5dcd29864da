import type { FromEdge, ToEdge } from './edge-messages.ts'

const mostKept = 1_000

/** How often in a row the candidates of rollouts could not be reached, in all edge processes of this proxy. */
export class Fuses {
  readonly #failures = new Map<string, number>()

  /** Returns what all processes are to be told. */
  hear({ rolloutId, word }: Extract<FromEdge, { type: 'fuse' }>): ToEdge {
    const failures = word === 'failed' ? (this.#failures.get(rolloutId) ?? 0) + 1 : 0
    if (failures === 0) this.#failures.delete(rolloutId)
    // Rollouts end without a word to this one.
    else if (this.#failures.size < mostKept || this.#failures.has(rolloutId)) this.#failures.set(rolloutId, failures)
    else this.#failures.clear()
    return { type: 'failures', rolloutId, failures }
  }
}
