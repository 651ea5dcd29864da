/**
 * What the edges counted for one arm in one segment. Every request counts for the arm that the toss chose, whoever served it in the end.
 * A unit is what the coin was tossed for: a visitor, or a request without a cookie. A unit is bad once per metric and rollout.
 */
export type Counts = {
  /** n: requests. */
  requests: number
  /** Requests that the coin was tossed for afresh: without a cookie, of a new visitor or of nobody in particular. */
  tosses: number
  /** e: requests that failed (5xx, connect failure, reset, timeout at the edge). */
  errorRequests: number
  /** x: units with a failed request. */
  errorUnits: number
  /** l: requests whose time to first byte counts: after the warm-up, of a route that is not cacheable, while there are limits. */
  timedRequests: number
  /** s: units with a timed request slower than τ. */
  slowUnits: number
  /** y: timed requests slower than τ′. */
  tooSlowRequests: number
  /** Requests answered 4xx; only ever a remark. */
  refusedRequests: number
}

/**
 * A stretch of a rollout at one weight. A new one is cut at the start of a stage, when half of its window has passed, and when the guard
 * starts afresh; each but the last kind opens a watch.
 */
export type Segment = {
  /** Ordinal of the stage in the rollout, from 0; a weight set by hand is a stage too. */
  stage: number
  opens: 'stage' | 'half' | 'guard'
  /** w: chance of a unit to be given the candidate, 0–1. */
  weight: number
  /** τ of the stage in ms; null while the old deployment has too few samples. */
  slowMs: number | null
  candidate: Counts
  baseline: Counts
}

export const noCounts: Readonly<Counts> = {
  requests: 0,
  tosses: 0,
  errorRequests: 0,
  errorUnits: 0,
  timedRequests: 0,
  slowUnits: 0,
  tooSlowRequests: 0,
  refusedRequests: 0,
}

export function addCounts(one: Readonly<Counts>, other: Readonly<Counts>): Counts {
  return {
    requests: one.requests + other.requests,
    tosses: one.tosses + other.tosses,
    errorRequests: one.errorRequests + other.errorRequests,
    errorUnits: one.errorUnits + other.errorUnits,
    timedRequests: one.timedRequests + other.timedRequests,
    slowUnits: one.slowUnits + other.slowUnits,
    tooSlowRequests: one.tooSlowRequests + other.tooSlowRequests,
    refusedRequests: one.refusedRequests + other.refusedRequests,
  }
}

export type Arms = { candidate: Counts; baseline: Counts }

/** Both arms over several segments. */
export function sumSegments(segments: readonly Segment[]): Arms {
  return segments.reduce<Arms>(
    (sum, segment) => ({
      candidate: addCounts(sum.candidate, segment.candidate),
      baseline: addCounts(sum.baseline, segment.baseline),
    }),
    { candidate: noCounts, baseline: noCounts },
  )
}

/** From this weight on the old deployment is too small to compare with. */
const comparedBelow = 0.9

/** Has the candidate a control beside it? */
export function isCompared(weight: number): boolean {
  return weight > 0 && weight < comparedBelow
}

/** The segments of the stage in force. */
export function currentStage(segments: readonly Segment[]): Segment[] {
  const stage = segments.at(-1)?.stage
  return segments.filter((segment) => segment.stage === stage)
}
