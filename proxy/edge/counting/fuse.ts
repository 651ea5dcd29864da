const mostFailures = 5
const openForMs = 30_000

/**
 * Keeps visitors from a candidate that nothing can be reached of: after five answers in a row that say so (refused, 502, 503, 504) requests go to the
 * old deployment for 30 s; then one tries. Times as performance.now().
 */
export class Fuse {
  #failures = 0
  #openUntil: number | null = null
  #isTrying = false

  get isOpen(): boolean {
    return this.#openUntil !== null
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
    this.#failures++
    if (this.#failures < mostFailures) return
    this.#openUntil = now + openForMs
    this.#isTrying = false
  }

  answered(startedAt: number): void {
    if (this.#isFromBefore(startedAt)) return
    this.#failures = 0
    this.#openUntil = null
    this.#isTrying = false
  }

  /** Its client left before anything was known: if it was the one that tried, another may. */
  left(startedAt: number): void {
    if (!this.#isFromBefore(startedAt)) this.#isTrying = false
  }

  #isFromBefore(startedAt: number): boolean {
    return this.#openUntil !== null && startedAt < this.#openUntil
  }
}
