/**
 * How long git may work on what one push has sent. A few kilobytes can hold more work than a machine does in a day (differences of
 * differences, gigabytes of zeros); an honest pack takes a fraction of a second for each of its megabytes. Time in which git waits for the client does not count.
 */
export class UnpackClock {
  readonly #onTooLong: () => void
  #leftMs: number
  #timer: NodeJS.Timeout | undefined
  #startedAt = 0
  #isOver = false

  constructor(allowanceMs: number, onTooLong: () => void) {
    this.#leftMs = allowanceMs
    this.#onTooLong = onTooLong
  }

  /** Another second for every megabyte. */
  grant(bytes: number): void {
    this.#leftMs += (bytes / 1_048_576) * 1000
  }

  /** git has something to do. */
  start(): void {
    if (this.#isOver || this.#timer) return
    this.#startedAt = performance.now()
    this.#timer = setTimeout(() => {
      this.stop()
      this.#onTooLong()
    }, this.#leftMs)
  }

  /** git has done it and waits for more. */
  pause(): void {
    if (!this.#timer) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#leftMs -= performance.now() - this.#startedAt
  }

  /** For good. */
  stop(): void {
    this.pause()
    this.#isOver = true
  }
}
