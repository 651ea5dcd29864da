import type { RolloutTally } from './rollout-tally.ts'
import type { SegmentCounts } from './segment-counts.ts'

/** τ and τ′ of the segment in ms. */
export type Limits = { slowMs: number; tooSlowMs: number }

/**
 * `limits` null: its latency does not count. `isWarm`: the stage has gone on for longer than its warm-up. `isKnown`: the unit is a visitor who
 * will come back.
 */
export type VisitStart = {
  segment: SegmentCounts
  unit: string
  isKnown: boolean
  isWarm: boolean
  limits: Limits | null
  target: string
  startedAt: number
}

/**
 * One request of a rollout, counted in the segment that was in force when it was routed and for the arm that the toss chose. Whether it is slow is
 * decided when the clock passes the limit, so one that hangs, or whose client has left by then, counts.
 */
export class CountedVisit {
  readonly path: string
  /** In the tally's list of those that wait for the app. */
  place: number | null = null
  readonly #tally: RolloutTally
  readonly #start: VisitStart
  #isKnown: boolean
  #isTimed = false
  #isSlow = false
  #isTooSlow = false

  constructor(tally: RolloutTally, start: VisitStart) {
    this.#tally = tally
    this.#start = start
    this.#isKnown = start.isKnown
    this.path = pathOf(start.target)
    start.segment.count('requests')
    if (!start.isKnown) start.segment.count('tosses')
  }

  /** The app, or the cache before it, is asked. */
  asked(): void {
    if (this.#start.limits) this.#tally.await(this)
  }

  /** Looks at the clock while the app is waited for. */
  look(now: number): void {
    // Its answer may still bring a cookie.
    this.#judgeWaiting(now, true)
  }

  /** The app has answered. `hasCookie`: with the visitor's id, which will come back. */
  answered(now: number, { isCacheable, hasCookie }: { isCacheable: boolean; hasCookie: boolean }): void {
    if (hasCookie) this.#isKnown = true
    if (isCacheable) this.#tally.cacheable.add(this.path)
    else if (this.#start.isWarm) {
      this.#start.segment.took(now - this.#start.startedAt)
      if (this.#start.limits) this.#timed()
      this.#judge(now, this.#isKnown)
    }
  }

  /** The cache has answered, or the edge for an app that did not. */
  answeredByEdge(now: number, status: number): void {
    if (status < 400) this.#tally.cacheable.add(this.path)
    this.#judgeWaiting(now, this.#isKnown)
  }

  /** It is known what comes of it. */
  settled(status: number): void {
    this.#tally.forget(this)
    if (status >= 400 && status < 500) this.#start.segment.count('refusedRequests')
  }

  /** Its client has left. */
  left(now: number, isAsked: boolean): void {
    this.#tally.forget(this)
    if (isAsked) this.#judgeWaiting(now, this.#isKnown)
  }

  /** Once at most. `status` 0: the answer broke off. */
  failed(status: number): void {
    const { segment, unit } = this.#start
    segment.count('errorRequests')
    this.#tally.markBad('errors', this.#isKnown ? unit : null, segment)
    this.#tally.failing[segment.arm].add(this.path, status)
    if (segment.arm === 'candidate') this.#tally.isUrgent = true
  }

  // What is for the cache was a hit on the other arm, where it is warmer.
  #judgeWaiting(now: number, isKnown: boolean): void {
    if (!this.#tally.cacheable.has(this.path)) this.#judge(now, isKnown)
  }

  #judge(now: number, isKnown: boolean): void {
    const { limits, segment, unit, startedAt } = this.#start
    if (!limits) return
    const ms = now - startedAt
    if (!this.#isSlow && ms > limits.slowMs) {
      this.#isSlow = true
      this.#timed()
      this.#tally.markBad('latency', isKnown ? unit : null, segment)
    }
    if (this.#isTooSlow || ms <= limits.tooSlowMs) return
    this.#isTooSlow = true
    this.#timed()
    segment.count('tooSlowRequests')
  }

  #timed(): void {
    if (this.#isTimed) return
    this.#isTimed = true
    this.#start.segment.count('timedRequests')
  }
}

function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query === -1 ? target : target.slice(0, query)
}
