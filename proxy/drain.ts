/** Counts what is in flight, so that whoever ends something can wait for the last of it. */
export class InFlight {
  #count = 0
  #waiting: (() => void)[] = []

  get count(): number {
    return this.#count
  }

  begin(): void {
    this.#count++
  }

  end(): void {
    this.#count--
    if (this.#count === 0) for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Resolves true when nothing is in flight, false after `deadlineMs` or on abort. */
  async drained(deadlineMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#count === 0) return true
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
