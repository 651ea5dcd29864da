const bits = 65_536

/** A set of texts of four characters that takes little memory and time, and now and then says of one that it is there when it is not. */
export class FourLetters {
  readonly #seen = new Uint8Array(bits / 8)

  /** Adds the four characters before `end`. */
  add(text: string, end: number): void {
    const bit = hashOf(text, end)
    this.#seen[bit >> 3] = (this.#seen[bit >> 3] ?? 0) | (1 << (bit & 7))
  }

  /** Whether the four characters before `end` may be in it. */
  mayHave(text: string, end: number): boolean {
    const bit = hashOf(text, end)
    return ((this.#seen[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0
  }
}

function hashOf(text: string, end: number): number {
  let hash = 0
  for (let at = end - 4; at < end; at++) hash = (hash * 37 + text.charCodeAt(at)) | 0
  return hash & (bits - 1)
}
