export type Wish = 'more' | 'fewer' | null

const full = 0.8
const little = 0.5
const looksUntilMore = 2
const looksUntilFewer = 6

/** From how busy the isolates of a deployment are, look by look, whether there should be one more or one less. */
export class LoadWatch {
  #fullLooks = 0
  #idleLooks = 0

  /** `busy`: the share of the time since the last look in which each thread was at work; null: not known. */
  look(busy: (number | null)[]): Wish {
    const known = busy.filter((share) => share !== null)
    if (known.length < busy.length || known.length === 0) return null
    const sum = known.reduce((total, share) => total + share, 0)
    this.#fullLooks = known.every((share) => share >= full) ? this.#fullLooks + 1 : 0
    this.#idleLooks = known.length > 1 && sum / (known.length - 1) < little ? this.#idleLooks + 1 : 0
    if (this.#fullLooks >= looksUntilMore) return this.#reset('more')
    return this.#idleLooks >= looksUntilFewer ? this.#reset('fewer') : null
  }

  #reset(wish: Wish): Wish {
    this.#fullLooks = 0
    this.#idleLooks = 0
    return wish
  }
}
