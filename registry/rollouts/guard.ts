import { lnMeanExp } from './evidence.ts'
import { wilsonBound, z99 } from './wilson.ts'

/** Failed requests of so many. */
export type Failures = { errors: number; requests: number }

const factors = [1.5, 2, 4, 10, 40]
const highest = 0.95

/** ln of the evidence at which the guard trips. */
export const lnGuardBar = Math.log(1000)

/**
 * p0: the share of failed requests that is still tolerated when both arms are taken together: the upper 99 % bound of the old deployment in the
 * 30 minutes before the rollout, plus the error threshold. Above 1 without any history: then the guard says nothing.
 */
export function toleratedErrorRate(before: Failures, errorRateThreshold: number): number {
  return wilsonBound(before.errors, before.requests, z99) + errorRateThreshold
}

/**
 * ln E that more than `p0` of the requests fail. The split between the arms is blind to a candidate that breaks what both use (a database); this
 * is a comparison with the past instead. A mean of likelihood ratios (Wald 1945), bounded by Ville like the rest:
 * x·ln(p1/p0) + (n − x)·ln((1 − p1)/(1 − p0)) for p1 = min(0.95, p0·{1.5, 2, 4, 10, 40}). Bettors that could only bet on less sit out.
 */
export function lnGuardEvidence({ errors, requests }: Failures, p0: number): number {
  const bets = factors.map((factor) => {
    const p1 = Math.min(highest, p0 * factor)
    if (p1 <= p0 || p0 <= 0) return 0
    return errors * Math.log(p1 / p0) + (requests - errors) * Math.log((1 - p1) / (1 - p0))
  })
  return lnMeanExp(bets)
}

export type GuardClock = {
  /** Age of the guard's watch: since the stage began or a segment was cut for the guard. */
  watchSec: number
  /** How long the guard has held the rollout; null when it does not. */
  heldSec: number | null
}

/** `afresh`: hold, and cut a segment so that the guard's next watch begins now. */
export type GuardStep = 'clear' | 'hold' | 'afresh' | 'rollback'

/**
 * What to do about the guard's evidence. Without a control (`isCompared` false) tripping is a rollback. In compared stages it may be an outage that
 * has nothing to do with the candidate: hold, and look at fresh requests only, half a window at a time, so that an outage that is over cannot go on
 * counting. Half a window without evidence releases; evidence in fresh requests a whole window after the first rolls back.
 */
export function stepGuard(
  lnEvidence: number,
  { watchSec, heldSec }: GuardClock,
  { windowSec, isCompared }: { windowSec: number; isCompared: boolean },
): GuardStep {
  const tripped = lnEvidence >= lnGuardBar
  if (!isCompared) return tripped ? 'rollback' : 'clear'
  if (heldSec === null) return tripped ? 'afresh' : 'clear'
  if (watchSec < windowSec / 2) return 'hold'
  if (lnEvidence <= 0) return 'clear'
  if (heldSec < windowSec) return 'afresh'
  return tripped ? 'rollback' : 'hold'
}
