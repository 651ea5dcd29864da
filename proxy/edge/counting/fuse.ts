const mostFailures = 5
const openForMs = 30_000

/** What the edge processes of a proxy tell each other of a candidate. */
export type FuseWord = 'failed' | 'answered'

/**
 * Keeps visitors from a candidate that nothing can be reached of: after five answers in a row that say so (refused, 502, 503, 504) requests go to the
 * old deployment for 30 s; then one tries. In a row: in all edge processes of the proxy, which hear of each other's. Times as performance.now().
 */
export class Fuse {
  readonly #tell: (word: FuseWord) => void
  #failures = 0
  #openUntil: number | null = null
  #isTrying = false

  constructor(tell: (word: FuseWord) => void) {
    this.#tell = tell
  }

  /** Whether a request that comes now may go to the candidate. */
  admits(now: number): boolean {
    if (this.#openUntil === null) return true
    if (now < this.#openUntil || this.#isTrying) return false
    this.#isTrying = true
    return true
  }

  /** `startedAt`: of the request. One that was on its way when the fuse blew tells nothing new. */
  failed(startedAt: number, now: number): void {
    if (this.#isFromBefore(startedAt)) return
    this.#tell('failed')
    this.#count(this.#failures + 1, now)
  }

  answered(startedAt: number): void {
    if (this.#isFromBefore(startedAt)) return
    if (this.#failures > 0) this.#tell('answered')
    this.#count(0, startedAt)
  }

  /** So many have failed in a row, in all processes together. */
  hear(failures: number, now: number): void {
    if (this.#openUntil === null || failures === 0) this.#count(failures, now)
  }

  /** Its client left before anything was known: if it was the one that tried, another may. */
  left(startedAt: number): void {
    if (!this.#isFromBefore(startedAt)) this.#isTrying = false
  }

  #count(failures: number, now: number): void {
    this.#failures = failures
    if (failures >= mostFailures) this.#openUntil = now + openForMs
    else if (failures === 0) this.#openUntil = null
    if (failures === 0 || failures >= mostFailures) this.#isTrying = false
  }

  #isFromBefore(startedAt: number): boolean {
    return this.#openUntil !== null && startedAt < this.#openUntil
  }
}
