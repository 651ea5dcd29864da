const most = 5_000

/** Paths that something is known of; of more than 5000 the rest is not. */
export class KnownPaths {
  readonly #paths = new Set<string>()

  add(path: string): void {
    if (this.#paths.size < most) this.#paths.add(path)
  }

  has(path: string): boolean {
    return this.#paths.has(path)
  }
}
