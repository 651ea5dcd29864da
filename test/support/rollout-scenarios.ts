import { defaultRolloutPolicy, type RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { Before } from '../../registry/rollouts/decide.ts'
import { Random } from './random.ts'
import { cliff, lognormal, slower } from './rollout-latency.ts'
import { simulateRollout, type Traffic } from './rollout-simulation.ts'
import { type App, drawBefore, healthyApp, requestTraffic } from './rollout-traffic.ts'
import { type Crowd, crowd, visitorTraffic } from './rollout-visitors.ts'

/** `expected` is what the design's own simulation (numpy) found: the share rolled back, and for faults the median s and bad answers until then. */
export type Scenario = {
  what: string
  expected: { share: number; sec?: number; bad?: number }
  /** Returns a maker of independent rollouts. */
  prepare: (policy: RolloutPolicy, random: Random) => () => Traffic
}

export type Outcome = { share: number; heldShare: number; sec: number; bad: number }

/** So many independent rollouts of a scenario, from one seed. */
export function runScenario({ prepare }: Scenario, runs: number, policy = defaultRolloutPolicy): Outcome {
  const next = prepare(policy, new Random(1))
  const endings = Array.from({ length: runs }, () => simulateRollout(next(), policy))
  const back = endings.filter(({ end }) => end === 'rollback')
  return {
    share: back.length / runs,
    heldShare: endings.filter(({ wasHeld }) => wasHeld).length / runs,
    sec: quantile(
      back.map(({ sec }) => sec),
      0.5,
    ),
    bad: quantile(
      back.map(({ candidate }) => Math.max(candidate.errorRequests, candidate.slowUnits)),
      0.5,
    ),
  }
}

/** The nearest rank; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN
}

// Histories are drawn once for many rollouts: 180 bins each are most of the work.
const histories = 25

function ofApp(app: App): Scenario['prepare'] {
  return (policy, random) => {
    const befores: Before[] = []
    let turn = 0
    return () => {
      const index = turn++ % histories
      befores[index] ??= drawBefore(app, random)
      return requestTraffic(app, policy, random, befores[index])
    }
  }
}

function ofCrowd(change: Partial<Crowd>): Scenario['prepare'] {
  return (policy, random) => () => visitorTraffic({ ...crowd, ...change }, policy, random)
}

const percent = (share: number) => `${Number((share * 100).toPrecision(3))} %`

/** Healthy candidates: the bound is 1 % for each. The page gives no number for three of the nine; its worst is 0.33 %. */
export const healthy: Scenario[] = [
  [1, 0.001, 0.0013],
  [1, 0.01, 0.0033],
  [1, 0.05, 0.0026],
  [10, 0.001, 0.001],
  [10, 0.01, 0.0018],
  [10, 0.05, 0.0033],
  [100, 0.001, 0.0002],
  [100, 0.01, 0.0033],
  [100, 0.05, 0.0008],
].map(([rps = 0, errorRate = 0, share = 0]) => ({
  what: `healthy, ${rps} requests/s, ${percent(errorRate)} errors`,
  expected: { share },
  prepare: ofApp(healthyApp(rps, errorRate)),
}))

/** Candidates that are worse. */
export const faulty: Scenario[] = [
  ...[
    { after: 0.02, found: [0.09, 1, 1], sec: [770, 360, 50], bad: [4.7, 6.5, 5.8] },
    { after: 0.05, found: [0.79, 1, 1], sec: [640, 140, 20], bad: [7.1, 4.1, 5.3] },
    { after: 1, found: [1, 1, 1], sec: [60, 10, 10], bad: [3.3, 5.7, 50] },
  ].flatMap(({ after, found, sec, bad }) =>
    [1, 10, 100].map((rps, at) => {
      const before = after === 1 ? 0 : 0.001
      return {
        what: `errors ${percent(before)} → ${percent(after)}, ${rps} requests/s`,
        expected: { share: found[at] ?? 0, sec: sec[at] ?? 0, bad: bad[at] ?? 0 },
        prepare: ofApp({ ...healthyApp(rps, before), errorRate: (arm) => (arm === 'candidate' ? after : before) }),
      }
    }),
  ),
  ...[
    { factor: 1.5, found: [0.33, 1, 1], sec: [720, 335, 50], bad: [27, 33, 34] },
    { factor: 2, found: [0.98, 1, 1], sec: [520, 120, 20], bad: [18, 14, 20] },
  ].flatMap(({ factor, found, sec, bad }) =>
    [1, 10, 100].map((rps, at) => ({
      what: `P95 × ${factor}, ${rps} requests/s`,
      expected: { share: found[at] ?? 0, sec: sec[at] ?? 0, bad: bad[at] ?? 0 },
      prepare: ofApp({
        ...healthyApp(rps, 0.001),
        tail: (arm) => (arm === 'candidate' ? slower(lognormal, factor) : lognormal),
      }),
    })),
  ),
]

const usual = healthyApp(20, 0.001)
const pausing: App = { ...usual, pauses: { perMin: 1, sec: 2 } }

/** What looks like a fault and is none, or the other way round. `expected` of `late leak` and `× 1.5` is detection. */
export const stress: Scenario[] = [
  {
    what: 'shared outage, 30 % errors for 20 s',
    expected: { share: 0.0003 },
    prepare: ofApp({ ...usual, errorRate: (_, { sec }) => (sec >= 400 && sec < 420 ? 0.3 : 0.001) }),
  },
  { what: 'always 3 % errors', expected: { share: 0.0012 }, prepare: ofApp(healthyApp(20, 0.03)) },
  {
    what: 'both arms 1.6 × as slow as before',
    expected: { share: 0.002 },
    prepare: ofApp({ ...usual, tail: () => slower(lognormal, 1.6), earlierTail: lognormal }),
  },
  {
    what: 'candidate 4 × as slow for 30 s of each stage',
    expected: { share: 0.0005 },
    prepare: ofApp({
      ...usual,
      tail: (arm, { stageSec }) => (arm === 'candidate' && stageSec < 30 ? slower(lognormal, 4) : lognormal),
    }),
  },
  {
    what: 'two kinds of requests, P95 at the cliff between',
    expected: { share: 0.0015 },
    prepare: ofApp({ ...healthyApp(10, 0.001), tail: () => cliff }),
  },
  {
    what: 'one broken visitor behind three edges',
    expected: { share: 0.0005 },
    prepare: ofCrowd({ brokenShare: 0.02 }),
  },
  { what: 'visitors with networks of their own', expected: { share: 0 }, prepare: ofCrowd({ ownSpread: 0.8 }) },
  { what: 'pauses of an instance', expected: { share: 0.004 }, prepare: ofApp(pausing) },
  {
    what: 'P95 × 2 from minute 3 of the 50 % stage',
    expected: { share: 1 },
    prepare: ofApp({
      ...usual,
      tail: (arm, { stage, stageSec }) =>
        arm === 'candidate' && (stage > 2 || (stage === 2 && stageSec >= 180)) ? slower(lognormal, 2) : lognormal,
    }),
  },
  {
    what: 'P95 × 1.5 for visitors with networks of their own',
    expected: { share: 1 },
    prepare: ofCrowd({ ownSpread: 0.8, candidateFactor: 1.5 }),
  },
]

/** The same without the answer to the pitfall: it shows that the scenario is one. */
export const unprotected: Scenario[] = [
  {
    what: 'one broken visitor, counted by request',
    expected: { share: 0.6 },
    prepare: ofCrowd({ brokenShare: 0.02, countRequests: true }),
  },
  {
    what: 'visitors with networks of their own, counted by request',
    expected: { share: 0.047 },
    prepare: ofCrowd({ ownSpread: 0.8, countRequests: true }),
  },
  {
    what: 'pauses without the burst factor',
    expected: { share: 0.59 },
    prepare: ofApp({ ...pausing, ignoreBursts: true }),
  },
]
