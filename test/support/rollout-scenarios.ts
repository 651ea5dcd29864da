import { type RolloutPolicy, rolloutPolicy } from '../../registry/rollout-policy.ts'
import type { Before } from '../../registry/rollouts/decide.ts'
import { Random } from './random.ts'
import { cliff, lognormal, slower } from './rollout-latency.ts'
import { type Ending, simulateRollout, type Traffic } from './rollout-simulation.ts'
import { type App, drawBefore, healthyApp, requestTraffic } from './rollout-traffic.ts'
import { type Crowd, crowd, visitorTraffic } from './rollout-visitors.ts'

/**
 * `expected` is what the design's own simulation (numpy) found: the share rolled back, and for faults the median s and bad answers until then. `isMost`: it has
 * only said that it was no more.
 */
export type Scenario = {
  what: string
  expected: { share: number; isMost?: boolean; sec?: number; bad?: number }
  /** Returns a maker of independent rollouts. */
  prepare: (policy: RolloutPolicy, random: Random) => () => Traffic
  /** Of `deployments.canary`, where they are not the defaults. */
  settings?: object
}

export type Outcome = {
  runs: number
  share: number
  heldShare: number
  sec: number
  bad: number
}

/** So many independent rollouts of a scenario, from one seed. */
export function runScenario({ prepare, settings = {} }: Scenario, runs: number): Outcome {
  const policy = rolloutPolicy.parse(settings)
  const next = prepare(policy, new Random(1))
  const endings = Array.from({ length: runs }, () => simulateRollout(next(), policy))
  const back = endings.filter(({ end }) => end === 'rollback')
  return {
    runs,
    share: back.length / runs,
    heldShare: endings.filter(({ wasHeld }) => wasHeld).length / runs,
    sec: quantile(
      back.map(({ sec }) => sec),
      0.5,
    ),
    bad: quantile(back.map(badAnswers), 0.5),
  }
}

// Of the kind that the rollout was rolled back for: one in twenty is slow anyway.
function badAnswers({ verdict, candidate }: Ending): number {
  return verdict.kind === 'rollback' && verdict.cause === 'latency' ? candidate.slowUnits : candidate.errorRequests
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

export function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`
}

/** Healthy candidates: the bound is 1 % for each. */
export const healthy: Scenario[] = [
  { rps: 1, errorRate: 0.001, share: 0.0013 },
  { rps: 1, errorRate: 0.01, share: 0.0033, isMost: true },
  { rps: 1, errorRate: 0.05, share: 0.0026 },
  { rps: 10, errorRate: 0.001, share: 0.001 },
  { rps: 10, errorRate: 0.01, share: 0.0018 },
  { rps: 10, errorRate: 0.05, share: 0.0033, isMost: true },
  { rps: 100, errorRate: 0.001, share: 0.0002 },
  { rps: 100, errorRate: 0.01, share: 0.0033, isMost: true },
  { rps: 100, errorRate: 0.05, share: 0.0008 },
].map(({ rps, errorRate, ...expected }) => ({
  what: `healthy, ${rps} requests/s, ${percent(errorRate)} errors`,
  expected,
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

const subtle = (what: string, shares: [errors: number, latency: number], settings: object): Scenario[] =>
  ['errors 0.1 % → 2 %, 1 requests/s', 'P95 × 1.5, 1 requests/s'].flatMap((name, at) =>
    faulty
      .filter((fault) => fault.what === name)
      .map(({ prepare }) => ({ what: `${name}, ${what}`, expected: { share: shares[at] ?? 0 }, prepare, settings })),
  )

/** What other settings do for the subtle faults that escape at one request a second. */
export const tuned: Scenario[] = [
  ...subtle('windows of 900 s', [0.81, 0.94], { observationWindowSec: 900 }),
  ...subtle('false rollbacks 5 %', [0.2, 0.52], { autoRollback: { falseRollbackRate: 0.05 } }),
  ...subtle('50 % as the only stage', [0.001, 0.13], { stages: [50] }),
]

const usual = healthyApp(20, 0.001)
const pausing: App = { ...usual, pauses: { perMin: 1, sec: 2 } }

/** What looks like a fault and is none, or the other way round. Where `expected` is 1 it is a fault. */
export const stress: Scenario[] = [
  {
    what: 'shared outage, 30 % errors for 20 s',
    expected: { share: 0.0003 },
    prepare: ofApp({ ...usual, errorRate: (_, { sec }) => (sec >= 400 && sec < 420 ? 0.3 : 0.001) }),
  },
  {
    what: 'shared outage, every request for 2 minutes',
    expected: { share: 0 },
    prepare: ofApp({ ...usual, errorRate: (_, { sec }) => (sec >= 400 && sec < 520 ? 1 : 0.001) }),
  },
  {
    what: 'both versions fail 30 % from minute 7 on',
    expected: { share: 1 },
    prepare: ofApp({ ...usual, errorRate: (_, { sec }) => (sec >= 420 ? 0.3 : 0.001) }),
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
