import type { Arms } from './segments.ts'

const sigmas = 6
const shareOff = 0.25
const dueAtLeast = 100

export type Split = {
  /** What the candidate got, and should have got, of so many. */
  candidate: number
  expected: number
  total: number
  /** Of what: the tosses where they do not fit, else the requests. */
  unit: 'tosses' | 'requests'
  isMismatch: boolean
}

/**
 * Did the candidate get what it should have? If not, the split itself is broken and nothing can be concluded from it.
 *
 * More than 6 σ *and* more than a quarter away from w·N (|n_c − wN| > 6·√(N·w(1 − w)) and > 0.25·wN) is no chance any more, where N counts tosses: each is
 * independent of the others. Requests are not: a visitor's all go to one arm, and taken for tosses they would hold every third or fourth healthy
 * rollout whose visitors make 30 requests each. They count where they leave no doubt: none at all for the candidate where 100 were due.
 */
export function readSplit({ candidate, baseline }: Arms, weight: number): Split {
  const tosses = share(candidate.tosses, baseline.tosses, weight)
  const off = Math.abs(tosses.candidate - tosses.expected)
  const deviation = Math.sqrt(tosses.expected * (1 - weight))
  if (off > sigmas * deviation && off > shareOff * tosses.expected)
    return { ...tosses, unit: 'tosses', isMismatch: true }

  const requests = share(candidate.requests, baseline.requests, weight)
  const isStarved = requests.candidate === 0 && requests.expected >= dueAtLeast
  return { ...requests, unit: 'requests', isMismatch: isStarved }
}

function share(candidate: number, baseline: number, weight: number) {
  const total = candidate + baseline
  return { candidate, total, expected: weight * total }
}
