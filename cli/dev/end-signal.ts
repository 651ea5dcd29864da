/** Ctrl-C and its like: the first asks to end in order, the next to hurry. */
export class EndSignal {
  readonly #asked = Promise.withResolvers<void>()
  #isAsked = false
  #again: () => void = () => undefined
  readonly #hear = () => {
    if (this.#isAsked) this.#again()
    this.#isAsked = true
    this.#asked.resolve()
  }

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, this.#hear)
  }

  get asked(): Promise<void> {
    return this.#asked.promise
  }

  onAgain(hurry: () => void): void {
    this.#again = hurry
  }

  /** What comes of it, or null when the end is asked for first; what is made all the same is ended then. */
  async before<T extends AsyncDisposable>(making: Promise<T>): Promise<T | null> {
    const made = await Promise.race([making, this.#asked.promise.then(() => null)])
    if (made) return made
    const late = await making.catch(() => null)
    await late?.[Symbol.asyncDispose]()
    return null
  }

  [Symbol.dispose](): void {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(name, this.#hear)
  }
}
