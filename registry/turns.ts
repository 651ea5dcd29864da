import { AppError } from './errors.ts'

/** Lets few do something at once, some wait, and turns all others away. */
export class Turns {
  readonly #limits: { atOnce: number; waiting: number }
  readonly #queue: (() => void)[] = []
  #running = 0

  constructor(limits: { atOnce: number; waiting: number }) {
    this.#limits = limits
  }

  /** Throws SIGN_IN_LIMIT when the queue is full. */
  async take<T>(act: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limits.atOnce) this.#running++
    else await this.#wait()
    try {
      return await act()
    } finally {
      // A turn is handed on; it is free only when nobody waits for it.
      const next = this.#queue.shift()
      if (next) next()
      else this.#running--
    }
  }

  #wait(): Promise<void> {
    if (this.#queue.length >= this.#limits.waiting)
      throw new AppError('SIGN_IN_LIMIT', 'too many people are signing in just now; try again in a minute')
    return new Promise((resolve) => this.#queue.push(resolve))
  }
}
