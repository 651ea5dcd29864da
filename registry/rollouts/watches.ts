import type { RolloutPolicy } from '../rollout-policy.ts'
import { type Bets, lnBar, openBets, placeBets, readBets } from './evidence.ts'
import { slowShare } from './latency-limits.ts'
import { type Arms, addCounts, isCompared, noCounts, type Segment } from './segments.ts'
import { wilsonBound, z95 } from './wilson.ts'

/** φ per metric. */
export type BurstFactors = { errors: number; latency: number }

/** What one watch says of one metric: the segments from its opening to now. */
export type Reading = {
  metric: 'errors' | 'latency'
  /** Index of the segment that opened the watch. */
  opened: number
  opens: 'stage' | 'half'
  lnEvidence: number
  lnBar: number
  /** Could it be as bad as the policy tolerates at most, or worse? */
  isMaterial: boolean
  /** τ in ms where the watch was opened. */
  slowMs: number | null
  arms: Arms
}

/** Is the candidate certainly worse (evidence over its bar) and possibly worse than tolerated (material)? */
export function callsForRollback({ lnEvidence, lnBar, isMaterial }: Reading): boolean {
  return lnEvidence >= lnBar && isMaterial
}

/**
 * Every watch's reading, the newest watch first and errors before latency. A watch is opened by each half of a compared stage, so that a candidate that
 * goes bad late is not judged by its healthy start. Segments at 90 % or more have no control and are in no watch.
 */
export function readWatches(segments: readonly Segment[], policy: RolloutPolicy, burst: BurstFactors): Reading[] {
  const { falseRollbackRate } = policy.autoRollback
  const shares = shareAlpha(segments, policy)
  const readings: Reading[] = []
  let arms: Arms = { candidate: noCounts, baseline: noCounts }
  let bets: Record<Reading['metric'], Bets> = { errors: openBets(), latency: openBets() }

  // Backwards, so that each watch is one segment more than the one after it.
  for (const [opened, segment] of [...segments.entries()].reverse()) {
    if (!isCompared(segment.weight)) continue
    arms = sumArms(arms, segment)
    bets = { errors: placeBets(bets.errors, failed(segment)), latency: placeBets(bets.latency, slow(segment)) }
    const { opens, slowMs, stage } = segment
    const share = shares.get(stage) ?? 0
    if (opens === 'guard' || share === 0) continue
    const watch = { opened, opens, lnBar: lnBar(opens, 1 / share, falseRollbackRate), slowMs, arms }
    const evidence = (metric: Reading['metric']) => readBets(bets[metric], burst[metric])
    readings.push(
      { ...watch, metric: 'errors', lnEvidence: evidence('errors'), isMaterial: moreErrors(arms, policy) },
      { ...watch, metric: 'latency', lnEvidence: evidence('latency'), isMaterial: moreSlow(arms) },
    )
  }
  return readings
}

/** The reading nearest to its bar, or furthest over it. */
export function strongest(readings: readonly Reading[], metric: Reading['metric']): Reading | null {
  return readings
    .filter((reading) => reading.metric === metric)
    .reduce<Reading | null>((best, reading) => (best && margin(best) >= margin(reading) ? best : reading), null)
}

/**
 * What each compared stage has of α, from 0 to 1, decided when it begins and never more than 1 in all: an equal part of what is left, among itself
 * and the planned ones ahead. A weight set by hand is a stage more, and leaves a part for another of its kind; after the last planned one nothing is
 * left, and only the watches go on that were opened before.
 */
function shareAlpha(segments: readonly Segment[], { stages }: RolloutPolicy): Map<number, number> {
  const planned = stages.filter((percent) => isCompared(percent / 100))
  const shares = new Map<number, number>()
  let left = 1
  for (const { stage, weight } of segments) {
    if (!isCompared(weight) || shares.has(stage)) continue
    const percent = Math.round(weight * 100)
    const ahead = planned.filter((other) => other > percent).length
    const parts = ahead + (planned.includes(percent) ? 1 : 2)
    // The last one takes what is left to the bit: a rest by rounding is no stage's.
    const share = parts === 1 ? left : left / parts
    shares.set(stage, share)
    left = parts === 1 ? 0 : left - share
  }
  return shares
}

// U(e_c, n_c) − e_b/n_b ≥ errorRateThreshold: the candidate may lose that many points more. In requests, whatever the unit of the evidence is.
function moreErrors({ candidate, baseline }: Arms, { autoRollback }: RolloutPolicy): boolean {
  const before = baseline.requests > 0 ? baseline.errorRequests / baseline.requests : 0
  const upper = wilsonBound(candidate.errorRequests, candidate.requests, z95)
  return upper - before >= autoRollback.errorRateThreshold
}

// U(y_c, l_c) ≥ 5 %: more than 5 % slower than τ′ is a P95 above τ′.
function moreSlow({ candidate }: Arms): boolean {
  return wilsonBound(candidate.tooSlowRequests, candidate.timedRequests, z95) >= slowShare
}

const failed = ({ weight, candidate, baseline }: Segment) => ({
  weight,
  candidate: candidate.errorUnits,
  baseline: baseline.errorUnits,
})

const slow = ({ weight, candidate, baseline }: Segment) => ({
  weight,
  candidate: candidate.slowUnits,
  baseline: baseline.slowUnits,
})

const margin = ({ lnEvidence, lnBar }: Reading) => lnEvidence - lnBar

function sumArms(sum: Arms, { candidate, baseline }: Segment): Arms {
  return { candidate: addCounts(sum.candidate, candidate), baseline: addCounts(sum.baseline, baseline) }
}
