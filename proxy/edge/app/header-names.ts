const mostKept = 2_000
const longestKept = 64

/**
 * What a header name means to somebody, worked out once for each way of writing it: lower-casing and looking up every name of every request
 * costs several times as much. Long names, and those beyond the
 * first 2,000, are worked out each time.
 */
export class HeaderNames<Meaning> {
  readonly #known = new Map<string, Meaning>()
  readonly #meaningOf: (lower: string, name: string) => Meaning

  constructor(meaningOf: (lower: string, name: string) => Meaning) {
    this.#meaningOf = meaningOf
  }

  of(name: string): Meaning {
    return this.#known.get(name) ?? this.#learn(name)
  }

  #learn(name: string): Meaning {
    const meaning = this.#meaningOf(name.toLowerCase(), name)
    // A copy, for the name may be a slice of a whole head and would keep it.
    if (this.#known.size < mostKept && name.length <= longestKept)
      this.#known.set(Buffer.from(name, 'latin1').toString('latin1'), meaning)
    return meaning
  }
}
