import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import { type BadUnit, uniteBadUnits, withBadUnits } from '../../registry/rollouts/bad-units.ts'
import { type Before, decide, type Moment, type Verdict } from '../../registry/rollouts/decide.ts'
import type { LatencyLimits } from '../../registry/rollouts/latency-limits.ts'
import { type Arms, noCounts, type Segment, sumSegments } from '../../registry/rollouts/segments.ts'

/** Where a rollout stands. */
export type Hour = {
  /** Index of the segment in force. */
  segment: number
  stage: number
  /** Since the stage began. */
  stageSec: number
  /** Since the rollout began. */
  sec: number
  weight: number
  limits: LatencyLimits | null
  isWarm: boolean
}

/** What visitors do to both arms. */
export type Traffic = {
  before: Before
  /** The limits a stage freezes when it begins. */
  readLimits(hour: Pick<Hour, 'weight'>): LatencyLimits | null
  /** The counts of the next `stepSec`. */
  step(hour: Hour, stepSec: number): Arms
  /** Per edge: the visitors it has seen be bad; where the unit is a visitor. */
  reports?(metric: 'errorUnits' | 'slowUnits'): BadUnit[][]
}

export type Ending = {
  end: 'rollback' | 'done' | 'stuck'
  sec: number
  stage: number
  verdict: Verdict
  /** What the candidate did to its visitors until then. */
  candidate: Arms['candidate']
  /** Was it held on the way? */
  wasHeld: boolean
}

/** A rollout from its first stage to its end, judged by the platform's own `decide` every `lookEverySec`. The controller around it is a stand-in. */
export function simulateRollout(traffic: Traffic, policy: RolloutPolicy, lookEverySec = 10): Ending {
  const segments: Segment[] = []
  const clock = { activeSec: 0, watchSec: 0, heldSec: null as number | null, sec: 0 }
  let limits: LatencyLimits | null = null
  let wasHeld = false

  const seen = () =>
    (['errorUnits', 'slowUnits'] as const).reduce<Segment[]>((counted, metric) => {
      return traffic.reports ? withBadUnits(counted, metric, uniteBadUnits(traffic.reports(metric))) : counted
    }, segments)
  const moment = (): Moment => ({
    activeSec: clock.activeSec,
    coverage: 1,
    uncoveredSec: 0,
    guard: { watchSec: clock.watchSec, heldSec: clock.heldSec },
    probes: { passed: 10, failed: 0, reason: null },
    before: traffic.before,
  })
  const open = (opens: Segment['opens'], stage: number, weight: number) => {
    segments.push({ stage, opens, weight, slowMs: limits?.slowMs ?? null, candidate: noCounts, baseline: noCounts })
  }

  for (;;) {
    const verdict = decide(seen(), policy, moment())
    const last = segments.at(-1)
    const ending = (end: Ending['end']): Ending => {
      return {
        end,
        sec: clock.sec,
        stage: last?.stage ?? 0,
        verdict,
        candidate: sumSegments(seen()).candidate,
        wasHeld,
      }
    }
    if (verdict.kind === 'rollback') return ending('rollback')
    if (clock.sec > 20 * policy.observationWindowSec) return ending('stuck')

    const isHeld = verdict.kind === 'hold' && verdict.cause === 'guard'
    wasHeld ||= verdict.kind === 'hold'
    clock.heldSec = isHeld ? (clock.heldSec ?? 0) : null
    if (verdict.kind === 'advance') {
      if (verdict.next === null) return ending('done')
      limits = traffic.readLimits({ weight: last?.weight ?? 0 })
      open('stage', (last?.stage ?? -1) + 1, verdict.next / 100)
      Object.assign(clock, { activeSec: 0, watchSec: 0 })
    } else if (verdict.cut && last) {
      open(verdict.cut, last.stage, last.weight)
      if (verdict.cut === 'guard') clock.watchSec = 0
    }

    const now = segments.at(-1)
    if (!now) throw new Error(`no stage was opened: ${verdict.sentence}`)
    const hour: Hour = {
      segment: segments.length - 1,
      stage: now.stage,
      stageSec: clock.activeSec,
      sec: clock.sec,
      weight: now.weight,
      limits,
      isWarm: clock.activeSec >= policy.autoRollback.warmupSec,
    }
    const step = traffic.step(hour, lookEverySec)
    segments[hour.segment] = { ...now, ...sumSegments([now, { ...now, ...step }]) }
    clock.sec += lookEverySec
    clock.activeSec += lookEverySec
    clock.watchSec += lookEverySec
    if (clock.heldSec !== null) clock.heldSec += lookEverySec
  }
}
