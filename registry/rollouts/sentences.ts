import { formatEvidence } from '../evidence-text.ts'
import type { RolloutPolicy } from '../rollout-policy.ts'
import { enoughCoverage } from './coverage.ts'
import type { Moment, Numbers, Outcome } from './decide.ts'
import { lnGuardBar } from './guard.ts'
import { slowShare, tooSlow } from './latency-limits.ts'
import { type Arms, isCompared } from './segments.ts'
import { callsForRollback, type Reading } from './watches.ts'
import { wilsonBound, z95 } from './wilson.ts'

/** The outcome in one sentence with its numbers, as the pusher, the console and the event show it. */
export function describeVerdict(outcome: Outcome, numbers: Numbers, policy: RolloutPolicy, now: Moment): string {
  const requests = requestsOf(numbers, policy)
  switch (outcome.kind) {
    case 'rollback':
      return outcome.cause === 'guard' ? describeGuard(numbers) : describeReading(outcome.reading, policy)
    case 'hold':
      return `held at ${percent(numbers.percent)}: ${describeHold(outcome.cause, numbers, policy, now)}`
    case 'observe': {
      const clock = `${Math.floor(now.activeSec)} of ${policy.observationWindowSec} s`
      return `observing ${percent(numbers.percent)}: ${clock}, ${requests}${evidenceSoFar(numbers)}`
    }
    case 'extend':
      return `observing ${percent(numbers.percent)} for longer: ${requests}${evidenceSoFar(numbers)}`
    case 'probe':
      return `no traffic to judge by: asking the new version ${outcome.count} times`
    case 'advance': {
      const label = { full: '', low: ` (low confidence: ${requests})`, unverified: ' (unverified: no traffic)' }[
        outcome.confidence
      ]
      if (outcome.next === null) return `done${label}`
      if (numbers.percent === 0) return `begins at ${percent(outcome.next)}${label}`
      return `${percent(numbers.percent)} → ${percent(outcome.next)}${label}: ${describeErrors(numbers.stage)}${evidenceSoFar(numbers)}`
    }
  }
}

/** What is worth telling and changes nothing. */
export function readRemarks(readings: readonly Reading[], numbers: Numbers, policy: RolloutPolicy): string[] {
  const { errorRateThreshold, latencyP95Threshold } = policy.autoRollback
  const remarks = readings
    .filter((reading) => reading.lnEvidence >= reading.lnBar && !callsForRollback(reading))
    .map((reading) => `slightly worse, within tolerance: ${describeReading(reading, policy)}`)
  const { candidate, baseline } = numbers.stage
  const refusedBefore = baseline.requests > 0 ? baseline.refusedRequests / baseline.requests : 0
  const { refusedRequests, tooSlowRequests, timedRequests } = candidate
  if (wilsonBound(refusedRequests, candidate.requests, -z95) > refusedBefore + errorRateThreshold) {
    const [these, those] = [
      share(refusedRequests, candidate.requests),
      share(baseline.refusedRequests, baseline.requests),
    ]
    remarks.push(`4xx answers ${these} vs ${those}: told, never a reason to roll back`)
  }
  // Without a control beside it this compares two times of day, so it is no more than a remark.
  if (!isCompared(numbers.percent / 100) && wilsonBound(tooSlowRequests, timedRequests, -z95) > slowShare) {
    const slow = share(tooSlowRequests, timedRequests)
    remarks.push(`P95 over ${latencyP95Threshold} × what it was before the rollout: ${slow} are slower`)
  }
  return remarks
}

function describeReading({ metric, arms, slowMs, lnEvidence, lnBar }: Reading, policy: RolloutPolicy): string {
  const counts = metric === 'errors' ? describeErrors(arms) : describeSlow(arms)
  const units = metric === 'errors' ? describeUnits(arms) : describeSlowUnits(arms, slowMs, policy)
  return `${counts} (${units}evidence ${formatEvidence(lnEvidence)}, bar ${formatEvidence(lnBar)})`
}

function describeErrors({ candidate, baseline }: Arms): string {
  return `errors ${share(candidate.errorRequests, candidate.requests)} vs ${share(baseline.errorRequests, baseline.requests)}`
}

function describeSlow({ candidate, baseline }: Arms): string {
  return `slow ${share(candidate.tooSlowRequests, candidate.timedRequests)} vs ${share(baseline.tooSlowRequests, baseline.timedRequests)}`
}

// Requests over τ′ are what is tolerated or not; the evidence is in visitors with one over τ.
function describeSlowUnits(
  { candidate, baseline }: Arms,
  slowMs: number | null,
  { autoRollback }: RolloutPolicy,
): string {
  const visitors = `of ${candidate.slowUnits} vs ${baseline.slowUnits} visitors`
  if (slowMs === null) return `${visitors}; `
  return `over ${Math.round(tooSlow(slowMs, autoRollback))} ms; ${visitors} over ${Math.round(slowMs)} ms; `
}

// Where visitors fail more than once, the evidence counts fewer than the rates do.
function describeUnits({ candidate, baseline }: Arms): string {
  if (candidate.errorUnits === candidate.errorRequests && baseline.errorUnits === baseline.errorRequests) return ''
  return `of ${candidate.errorUnits} vs ${baseline.errorUnits} visitors; `
}

function describeGuard({ guard, percent: at }: Numbers): string {
  const whose = isCompared(at / 100) ? 'on both versions together, for a window and longer' : `at ${percent(at)}`
  const limit = `${round(guard.tolerated * 100)} % tolerated`
  const evidence = `evidence ${formatEvidence(guard.lnEvidence)}, bar ${formatEvidence(lnGuardBar)}`
  return `errors ${share(guard.errors, guard.requests)} ${whose} (${limit}; ${evidence})`
}

function describeHold(
  cause: Extract<Outcome, { kind: 'hold' }>['cause'],
  numbers: Numbers,
  policy: RolloutPolicy,
  now: Moment,
): string {
  const { guard, split } = numbers
  switch (cause) {
    case 'guard': {
      const limit = `${round(guard.tolerated * 100)} % tolerated`
      return `errors on both versions together, ${share(guard.errors, guard.requests)} lately (${limit}); when that lasts for ${policy.observationWindowSec} s the new version is taken back`
    }
    case 'split': {
      return `the new version got ${split.candidate} of ${split.total} requests without a cookie where ${Math.round(split.expected)} were due`
    }
    case 'coverage':
      return `proxies with ${round(now.coverage * 100)} % of the traffic report, ${enoughCoverage * 100} % must`
    case 'probes':
      return `${now.probes?.failed ?? 0} of the probes failed${now.probes?.reason ? ` (${now.probes.reason})` : ''}, and there is no traffic to judge by`
    case 'low traffic':
      return `${requestsOf(numbers, policy)} in ${Math.floor(now.activeSec)} s`
  }
}

function requestsOf({ stage }: Numbers, { autoRollback }: RolloutPolicy): string {
  return `${stage.candidate.requests} of ${autoRollback.minRequests} requests`
}

function evidenceSoFar({ errors, latency }: Numbers): string {
  const readings = [errors, latency].filter((reading) => reading !== null)
  if (readings.length === 0) return ''
  const said = readings.map(({ metric, lnEvidence, lnBar }) => {
    return `${metric} ${formatEvidence(lnEvidence)} of ${formatEvidence(lnBar)}`
  })
  return `, evidence ${said.join(', ')}`
}

const share = (bad: number, total: number) => `${bad}/${total}`

const percent = (value: number) => `${round(value)} %`

const round = (value: number) => Number(value.toPrecision(3))
