import { defaultRolloutPolicy } from '../../registry/rollout-policy.ts'
import { decide, type Moment } from '../../registry/rollouts/decide.ts'
import { lnGuardBar, lnGuardEvidence, toleratedErrorRate } from '../../registry/rollouts/guard.ts'
import { noCounts, type Segment } from '../../registry/rollouts/segments.ts'
import type { Random } from './random.ts'
import { drawLimits, lognormal, slower } from './rollout-latency.ts'

/** What is wrong with the candidate, at 5 %: shares of failed requests, or how many times as slow it is. */
export type Fault = { errors: [before: number, after: number] } | { slowness: number }

const weight = 0.05

/** Requests of the candidate until `decide` rolls it back; Infinity beyond `most`. Candidate's requests come one by one, the baseline's between. */
export function requestsToDetect(fault: Fault, random: Random, most = 20_000): number {
  const limits = drawLimits(lognormal, 18_000, defaultRolloutPolicy.autoRollback, random)
  if (!limits) throw new Error('18 000 samples are enough for limits')
  const tail = slower(lognormal, 'slowness' in fault ? fault.slowness : 1)
  const [failingBefore, failing] = 'errors' in fault ? fault.errors : [0, 0]
  const candidate = { ...noCounts }
  const baseline = { ...noCounts }
  const segment: Segment = { stage: 0, opens: 'stage', weight, slowMs: limits.slowMs, candidate, baseline }
  const [overSlow, overTooSlow] = [tail(limits.slowMs), tail(limits.tooSlowMs)]
  const slowBefore = lognormal(limits.slowMs)

  for (let requests = 1; requests <= most; requests++) {
    const between = random.geometric(weight)
    baseline.requests += between
    baseline.timedRequests += between
    const failedBefore = random.binomial(between, failingBefore)
    baseline.errorRequests += failedBefore
    baseline.errorUnits += failedBefore
    baseline.slowUnits += random.binomial(between, slowBefore)

    candidate.requests++
    candidate.timedRequests++
    const hasFailed = random.uniform() < failing
    const slowness = random.uniform()
    if (hasFailed) candidate.errorUnits = ++candidate.errorRequests
    if (slowness < overSlow) candidate.slowUnits++
    if (slowness < overTooSlow) candidate.tooSlowRequests++
    // Evidence grows only with a bad unit of the candidate.
    const mayTurn = hasFailed || slowness < overSlow
    if (mayTurn && decide([segment], defaultRolloutPolicy, observing).kind === 'rollback') return requests
  }
  return Number.POSITIVE_INFINITY
}

/** Requests of both arms until the guard trips at a steady share of failures; Infinity beyond `most`. The history had 1 per mille of 18 000. */
export function requestsToTrip(errorRate: number, random: Random, most = 20_000, historyRate = 0.001): number {
  const before = { errors: 18_000 * historyRate, requests: 18_000 }
  const tolerated = toleratedErrorRate(before, defaultRolloutPolicy.autoRollback.errorRateThreshold)
  for (let requests = 1, errors = 0; requests <= most; requests++) {
    if (random.uniform() >= errorRate) continue
    errors++
    if (lnGuardEvidence({ errors, requests }, tolerated) >= lnGuardBar) return requests
  }
  return Number.POSITIVE_INFINITY
}

const observing: Moment = {
  activeSec: 1,
  coverage: 1,
  uncoveredSec: 0,
  guard: { watchSec: 1, heldSec: null },
  probes: null,
  before: { recentRequests: 3000, failures: { errors: 18, requests: 18_000 }, burst: { errors: 1, latency: 1 } },
}
