const mostFailures = 5
const openForMs = 30_000
// A bit each: the last twenty.
const oldAnswers = 0xfffff

const unreachable = [502, 503, 504]

/** What the edge processes of a proxy tell each other of a candidate. */
export type FuseWord = 'failed' | 'answered'

/** Nothing of the app: not reached, or no answer in time. */
export function isUnreachable(status: number): boolean {
  return unreachable.includes(status)
}

/** Hears how a request to one arm went. `status` null: it says nothing of the app, which has not been asked, or not waited for. */
export type FuseEar = (status: number | null, startedAt: number, now: number) => void

/**
 * Keeps visitors from a candidate that nothing can be reached of: after five answers in a row that say so (refused, 502, 503, 504) requests go to the
 * old deployment for 30 s; then one tries. In a row: in all edge processes of the proxy, which hear of each other's. Not while more than one of the old
 * deployment's last twenty answers says the same: what fails in both would be blamed on the candidate alone. Times as performance.now().
 */
export class Fuse {
  readonly #tell: (word: FuseWord) => void
  #failures = 0
  #openUntil: number | null = null
  #isTrying = false
  /** Which of the old deployment's last answers said that it was not reached; the newest is the last bit. */
  #old = 0
  #oldFailedAt = Number.NEGATIVE_INFINITY

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

  readonly candidate: FuseEar = (status, startedAt, now) => {
    if (status === null) this.left(startedAt)
    else if (isUnreachable(status)) this.failed(startedAt, now)
    else this.answered(startedAt)
  }

  readonly old: FuseEar = (status, _startedAt, now) => {
    if (status === null) return
    this.#old = ((this.#old << 1) | Number(isUnreachable(status))) & oldAnswers
    if (!this.#oldFails()) return
    this.#oldFailedAt = now
    if (this.#failures === 0) return
    this.#tell('answered')
    this.#count(0, now)
  }

  /** `startedAt`: of the request. One that was on its way when the fuse blew tells nothing new. */
  failed(startedAt: number, now: number): void {
    // What hung while both failed ends later than the old deployment's next good answers.
    if (this.#isFromBefore(startedAt) || startedAt <= this.#oldFailedAt || this.#oldFails()) return
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
    if (failures >= mostFailures && !this.#oldFails()) this.#openUntil = now + openForMs
    else if (failures === 0) this.#openUntil = null
    if (failures === 0 || failures >= mostFailures) this.#isTrying = false
  }

  #oldFails(): boolean {
    // More than one bit.
    return (this.#old & (this.#old - 1)) !== 0
  }

  #isFromBefore(startedAt: number): boolean {
    return this.#openUntil !== null && startedAt < this.#openUntil
  }
}
