import type { RolloutPolicy } from '../rollout-policy.ts'
import { enoughCoverage } from './coverage.ts'
import {
  type Failures,
  type GuardClock,
  type GuardStep,
  lnGuardEvidence,
  stepGuard,
  toleratedErrorRate,
} from './guard.ts'
import { type Arms, currentStage, isCompared, type Segment, sumSegments } from './segments.ts'
import { describeVerdict, readRemarks } from './sentences.ts'
import { readSplit, type Split } from './split-mismatch.ts'
import { type BurstFactors, callsForRollback, type Reading, readWatches, strongest } from './watches.ts'

/** What was known of the old deployment when the first stage began; frozen then, so that the rollout cannot change what it is judged by. */
export type Before = {
  /** Requests of the route in the 5 minutes before. */
  recentRequests: number
  /** In the 30 minutes before. */
  failures: Failures
  /** φ of the 30 minutes before. */
  burst: BurstFactors
}

/** What the counters do not say. */
export type Moment = {
  /** Seconds of the stage with enough coverage. */
  activeSec: number
  /** Share of the traffic whose edges report and have the stage's weight, and for how long it has been below 0.8. */
  coverage: number
  uncoveredSec: number
  guard: GuardClock
  /** What became of the probes that a verdict asked for; `reason`: what the first said that failed. */
  probes: { passed: number; failed: number; reason: string | null } | null
  before: Before
}

export type Outcome =
  | { kind: 'rollback'; cause: 'errors' | 'latency'; reading: Reading }
  | { kind: 'rollback'; cause: 'guard' }
  | { kind: 'hold'; cause: 'guard' | 'split' | 'coverage' | 'probes' | 'low traffic'; alert: boolean }
  /** The window has not passed. */
  | { kind: 'observe' }
  /** The window has passed, and enough requests will have come within three. */
  | { kind: 'extend' }
  /** There is no traffic to judge by: ask the candidate `count` times through the edge, then decide again. */
  | { kind: 'probe'; count: number }
  /** On to `next` percent; null: the rollout is done. */
  | { kind: 'advance'; next: number | null; confidence: 'full' | 'low' | 'unverified' }

/** Every number the outcome rests on. */
export type Numbers = {
  percent: number
  stage: Arms
  /** The readings nearest to their bars; null where nothing is compared. */
  errors: Reading | null
  latency: Reading | null
  guard: Failures & { tolerated: number; lnEvidence: number }
  split: Split
}

export type Verdict = Outcome & {
  numbers: Numbers
  /** Remarks that change nothing. */
  remarks: string[]
  sentence: string
  /** Begin a new segment now: the second half of the window, or a fresh watch of the guard. */
  cut: 'half' | 'guard' | null
}

const idleRequests = 20
const probeCount = 10
const longestWindows = 3
const alertAfterSec = 600

/**
 * The verdict over a rollout, from its counters alone: whoever asks again with the same counters, after a restart or on another machine, is
 * told the same. `segments` are in the order they were opened; none yet means that the first stage is still to begin. Rollback comes before hold, and
 * hold before the clock.
 */
export function decide(segments: readonly Segment[], policy: RolloutPolicy, now: Moment): Verdict {
  const stage = currentStage(segments)
  const weight = segments.at(-1)?.weight ?? 0
  const compared = isCompared(weight)
  const readings = readWatches(segments, policy, now.before.burst)
  const arms = sumSegments(stage)
  const guard = readGuard(stage, policy, now.before)
  const step = stepGuard(guard.lnEvidence, now.guard, { windowSec: policy.observationWindowSec, isCompared: compared })
  const numbers: Numbers = {
    percent: Math.round(weight * 1e4) / 100,
    stage: arms,
    errors: strongest(readings, 'errors'),
    latency: strongest(readings, 'latency'),
    guard,
    split: readSplit(arms, weight),
  }

  const outcome = judge(readings, step, numbers, policy, now)
  return {
    ...outcome,
    numbers,
    remarks: readRemarks(readings, numbers, policy),
    sentence: describeVerdict(outcome, numbers, policy, now),
    cut:
      outcome.kind === 'rollback' || outcome.kind === 'advance' ? null : cutDue(stage, policy, now, step === 'afresh'),
  }
}

function judge(
  readings: readonly Reading[],
  step: GuardStep,
  numbers: Numbers,
  policy: RolloutPolicy,
  now: Moment,
): Outcome {
  const worse = readings.find(callsForRollback)
  if (worse) return { kind: 'rollback', cause: worse.metric, reading: worse }
  if (step === 'rollback') return { kind: 'rollback', cause: 'guard' }
  if (step !== 'clear') return { kind: 'hold', cause: 'guard', alert: true }
  if (numbers.split.isMismatch) return { kind: 'hold', cause: 'split', alert: true }
  if (now.coverage < enoughCoverage) return { kind: 'hold', cause: 'coverage', alert: now.uncoveredSec > alertAfterSec }
  return readClock(numbers, policy, now)
}

function readClock({ percent, stage }: Numbers, policy: RolloutPolicy, now: Moment): Outcome {
  const { observationWindowSec: windowSec } = policy
  const { minRequests, lowTraffic } = policy.autoRollback
  const next = policy.stages.find((step) => step > percent) ?? null
  if (percent === 0)
    return now.before.recentRequests < idleRequests ? probe(now) : { kind: 'advance', next, confidence: 'full' }
  if (now.activeSec < windowSec) return { kind: 'observe' }

  const requests = stage.candidate.requests
  const windows = now.activeSec / windowSec
  if (requests >= minRequests) return { kind: 'advance', next, confidence: 'full' }
  if ((requests + stage.baseline.requests) / windows < idleRequests) {
    return next === null ? { kind: 'advance', next, confidence: 'unverified' } : probe(now)
  }
  const isWithinReach = (requests / windows) * longestWindows >= minRequests
  if (windows < longestWindows && (lowTraffic === 'wait' || isWithinReach)) return { kind: 'extend' }
  if (lowTraffic === 'hold') return { kind: 'hold', cause: 'low traffic', alert: false }
  return { kind: 'advance', next, confidence: 'low' }
}

// Nobody to protect and nothing to judge by: the candidate's own answers are all there is.
function probe({ probes }: Moment): Outcome {
  if (probes === null) return { kind: 'probe', count: probeCount }
  if (probes.failed > 0 || probes.passed < probeCount) return { kind: 'hold', cause: 'probes', alert: true }
  return { kind: 'advance', next: 100, confidence: 'unverified' }
}

function readGuard(stage: readonly Segment[], policy: RolloutPolicy, before: Before): Numbers['guard'] {
  const opened = stage.findLastIndex(({ opens }) => opens === 'guard')
  const { candidate, baseline } = sumSegments(opened < 0 ? stage : stage.slice(opened))
  const failures = {
    errors: candidate.errorRequests + baseline.errorRequests,
    requests: candidate.requests + baseline.requests,
  }
  const tolerated = toleratedErrorRate(before.failures, policy.autoRollback.errorRateThreshold)
  return { ...failures, tolerated, lnEvidence: lnGuardEvidence(failures, tolerated) }
}

function cutDue(stage: readonly Segment[], policy: RolloutPolicy, now: Moment, afresh: boolean): Verdict['cut'] {
  if (afresh) return 'guard'
  const isHalved = stage.some(({ opens }) => opens === 'half')
  const isDue = stage.some(({ weight }) => isCompared(weight)) && now.activeSec >= policy.observationWindowSec / 2
  return isDue && !isHalved ? 'half' : null
}
