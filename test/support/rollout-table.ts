import { Random } from './random.ts'
import { type Fault, requestsToDetect, requestsToTrip } from './rollout-detection.ts'
import { type Outcome, percent, quantile, type Scenario } from './rollout-scenarios.ts'

/** One line of the simulation's table: what came out, beside what the design's own simulation found. */
export function describeOutcome({ what, expected }: Scenario, outcome: Outcome): string {
  const { share, heldShare, sec, bad, runs } = outcome
  const found = share > 0 && expected.sec !== undefined ? ` (${sec} s; ${bad} bad)` : ''
  const wanted = expected.sec === undefined ? '' : ` (${expected.sec} s; ${expected.bad} bad)`
  const held = heldShare > 0 ? ` · held on the way ${percent(heldShare)}` : ''
  return `${what.padEnd(60)} rolled back ${percent(share)}${found} of ${runs} · expected ${expected.isMost ? 'at most ' : ''}${percent(expected.share)}${wanted}${held}`
}

export type Detection = { what: string; fault: Fault; expected: [p50: number, p90: number, p95: number, by500: number] }

/** Requests of the candidate until it is rolled back at 5 %. */
export const detections: Detection[] = [
  { what: 'errors 0 → 100 %', fault: { errors: [0, 1] }, expected: [3, 3, 3, 1] },
  { what: 'errors 0.1 → 5 %', fault: { errors: [0.001, 0.05] }, expected: [68, 142, 168, 1] },
  { what: 'errors 0.1 → 2 %', fault: { errors: [0.001, 0.02] }, expected: [208, 458, 558, 0.93] },
  { what: 'errors 1 → 5 %', fault: { errors: [0.01, 0.05] }, expected: [208, 406, 470, 0.96] },
  { what: 'errors 5 → 8 %', fault: { errors: [0.05, 0.08] }, expected: [1100, 1960, 2280, 0.12] },
  { what: 'P95 × 1.5', fault: { slowness: 1.5 }, expected: [202, 372, 430, 0.97] },
  { what: 'P95 × 2', fault: { slowness: 2 }, expected: [56, 108, 122, 1] },
  { what: 'P95 × 5', fault: { slowness: 5 }, expected: [10, 16, 18, 1] },
]

/** Differences that are tolerated: the share that is rolled back within 20 000 requests of the candidate. */
export const tolerated: { what: string; fault: Fault; expected: number }[] = [
  { what: 'errors 0.1 → 0.5 %', fault: { errors: [0.001, 0.005] }, expected: 0.079 },
  { what: 'P95 × 1.2', fault: { slowness: 1.2 }, expected: 0.12 },
]

/** Requests of both arms until the guard trips. Infinity: it must not. */
export const trips: { what: string; errorRate: number; historyRate: number; expected: number }[] = [
  { what: 'errors 0.1 → 5 %', errorRate: 0.05, historyRate: 0.001, expected: 700 },
  { what: 'errors 0.1 → 10 %', errorRate: 0.1, historyRate: 0.001, expected: 120 },
  { what: 'errors 0.1 → 100 %', errorRate: 1, historyRate: 0.001, expected: 10 },
  { what: 'errors 0.1 → 1 %', errorRate: 0.01, historyRate: 0.001, expected: Number.POSITIVE_INFINITY },
  { what: 'errors steady at 5 %', errorRate: 0.05, historyRate: 0.05, expected: Number.POSITIVE_INFINITY },
]

export function runDetection(fault: Fault, runs: number): [p50: number, p90: number, p95: number, by500: number] {
  const found = drawDetections(fault, runs)
  const by500 = found.filter((requests) => requests <= 500).length / runs
  return [quantile(found, 0.5), quantile(found, 0.9), quantile(found, 0.95), by500]
}

/** The share that is rolled back at all. */
export function runTolerated(fault: Fault, runs: number): number {
  return drawDetections(fault, runs).filter(Number.isFinite).length / runs
}

/** The median. */
export function runTrips({ errorRate, historyRate }: (typeof trips)[number], runs: number): number {
  const random = new Random(1)
  const found = Array.from({ length: runs }, () => requestsToTrip(errorRate, random, 20_000, historyRate))
  return quantile(found, 0.5)
}

export function describeDetection({ what, expected }: Detection, found: Detection['expected']): string {
  const show = ([p50, p90, p95, by500]: Detection['expected']) =>
    `p50 ${p50} p90 ${p90} p95 ${p95}, by 500 ${percent(by500)}`
  return `${`requests until found at 5 %, ${what}`.padEnd(60)} ${show(found)} · expected ${show(expected)}`
}

function drawDetections(fault: Fault, runs: number): number[] {
  const random = new Random(1)
  return Array.from({ length: runs }, () => requestsToDetect(fault, random))
}
