import type { Arms } from './segments.ts'

const sigmas = 6
const shareOff = 0.25

export type Split = {
  /** Tosses that the candidate got, and should have got, of so many. */
  candidate: number
  expected: number
  total: number
  isMismatch: boolean
}

/**
 * Did the candidate get what it should have? If not, the split itself is broken and nothing can be concluded from it.
 *
 * More than 6 σ *and* more than a quarter away from w·N (|n_c − wN| > 6·√(N·w(1 − w)) and > 0.25·wN) is no chance any more, where N counts tosses: each is
 * independent of the others. Requests are not: a visitor's all go to one arm. Taken for tosses they would hold every third or fourth healthy rollout whose
 * visitors make 30 requests each, and six of ten whose ten visitors are all there are: at 5 % none of them comes to the candidate, which is few
 * requests and no broken split.
 */
export function readSplit({ candidate, baseline }: Arms, weight: number): Split {
  const total = candidate.tosses + baseline.tosses
  const expected = weight * total
  const off = Math.abs(candidate.tosses - expected)
  const isMismatch = off > sigmas * Math.sqrt(expected * (1 - weight)) && off > shareOff * expected
  return { candidate: candidate.tosses, expected, total, isMismatch }
}
