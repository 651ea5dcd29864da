import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import { burstFactor } from '../../registry/rollouts/burst-factor.ts'
import type { Before } from '../../registry/rollouts/decide.ts'
import type { Counts } from '../../registry/rollouts/segments.ts'
import type { Random } from './random.ts'
import { drawLimits, lognormal, type Tail } from './rollout-latency.ts'
import type { Hour, Traffic } from './rollout-simulation.ts'

export type Arm = 'candidate' | 'baseline'
type When = Pick<Hour, 'stage' | 'stageSec' | 'sec'>

/** An app under load, request by request (no cookies: the unit is the request). */
export type App = {
  requestsPerSec: number
  errorRate: (arm: Arm, when: When) => number
  tail: (arm: Arm, when: When) => Tail
  /** The old deployment before the rollout, where it was another. */
  earlierTail?: Tail
  /** Pauses of an instance: everything that reaches its arm meanwhile is slow. */
  pauses?: { perMin: number; sec: number }
  /** Judge bursts as if there were none. */
  ignoreBursts?: boolean
}

const long = Number.MAX_SAFE_INTEGER

/** Traffic of an app whose history and visits are drawn from `random`. */
export function requestTraffic(
  app: App,
  policy: RolloutPolicy,
  random: Random,
  before = drawBefore(app, random),
): Traffic {
  const earlier = app.earlierTail ?? app.tail('baseline', { stage: 0, stageSec: long, sec: -1 })
  const samples = 900 * app.requestsPerSec
  const draw = (arm: Arm, hour: Hour, stepSec: number): Counts => {
    const weight = arm === 'candidate' ? hour.weight : 1 - hour.weight
    const requests = random.poisson(app.requestsPerSec * weight * stepSec)
    const errors = random.binomial(requests, app.errorRate(arm, hour))
    const tail = app.tail(arm, hour)
    const timed = hour.limits && hour.isWarm ? requests : 0
    const paused = drawPaused(app, weight, stepSec, timed, random)
    const [overSlow, overTooSlow] = hour.limits ? [tail(hour.limits.slowMs), tail(hour.limits.tooSlowMs)] : [0, 0]
    const slow = random.binomial(timed - paused, overSlow)
    const tooSlow = overSlow > 0 ? random.binomial(slow, overTooSlow / overSlow) : 0
    return {
      requests,
      tosses: requests,
      errorRequests: errors,
      errorUnits: errors,
      timedRequests: timed,
      slowUnits: slow + paused,
      tooSlowRequests: tooSlow + paused,
      refusedRequests: 0,
    }
  }
  return {
    before,
    readLimits: ({ weight }) => drawLimits(earlier, Math.round(samples * (1 - weight)), policy.autoRollback, random),
    step: (hour, stepSec) => ({
      candidate: draw('candidate', hour, stepSec),
      baseline: draw('baseline', hour, stepSec),
    }),
  }
}

/** 30 minutes of the old deployment alone, in bins of 10 s. */
export function drawBefore(app: App, random: Random): Before {
  const when = { stage: 0, stageSec: long, sec: -1 }
  const bins = Array.from({ length: 180 }, () => {
    const total = random.poisson(app.requestsPerSec * 10)
    const paused = drawPaused(app, 1, 10, total, random)
    return {
      total,
      errors: random.binomial(total, app.errorRate('baseline', when)),
      slow: paused + random.binomial(total - paused, 0.05),
    }
  })
  const factor = (metric: 'errors' | 'slow') =>
    app.ignoreBursts ? 1 : burstFactor(bins.map((bin) => ({ bad: bin[metric], total: bin.total })))
  const sum = (of: 'errors' | 'total', last: number) => bins.slice(-last).reduce((total, bin) => total + bin[of], 0)
  return {
    recentRequests: sum('total', 30),
    failures: { errors: sum('errors', 180), requests: sum('total', 180) },
    burst: { errors: factor('errors'), latency: factor('slow') },
  }
}

function drawPaused(app: App, weight: number, stepSec: number, timed: number, random: Random): number {
  if (!app.pauses) return 0
  const seconds = random.poisson((app.pauses.perMin * stepSec) / 60) * app.pauses.sec
  return Math.min(timed, random.poisson(app.requestsPerSec * weight * seconds))
}

/** An app that is the same in both arms. */
export function healthyApp(requestsPerSec: number, errorRate: number): App {
  return { requestsPerSec, errorRate: () => errorRate, tail: () => lognormal }
}
