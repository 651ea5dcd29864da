import type { Arms } from './segments.ts'

const sigmas = 6
const shareOff = 0.25
const dueAtLeast = 100

export type Split = {
  /** Requests that the candidate got, and should have got, of so many. */
  candidate: number
  expected: number
  total: number
  isMismatch: boolean
}

/**
 * Did the candidate get what it should have? If not, the split itself is broken and nothing can be concluded from it.
 *
 * More than 6 σ *and* more than a quarter away from w·N (|n_c − wN| > 6·√(N·w(1 − w)) and > 0.25·wN) is no chance any more, where N counts tosses: each is
 * independent of the others. Requests are not: a visitor's all go to one arm, and taken for tosses they would hold every fourth healthy rollout
 * whose visitors make 20 requests each. They count where they leave no doubt: none at all for the candidate where 100 were due.
 */
export function readSplit({ candidate, baseline }: Arms, weight: number): Split {
  const tosses = candidate.tosses + baseline.tosses
  const off = Math.abs(candidate.tosses - weight * tosses)
  const isUnlikely = off > sigmas * Math.sqrt(tosses * weight * (1 - weight)) && off > shareOff * weight * tosses

  const total = candidate.requests + baseline.requests
  const expected = weight * total
  const isStarved = candidate.requests === 0 && expected >= dueAtLeast
  return { candidate: candidate.requests, expected, total, isMismatch: isUnlikely || isStarved }
}
