import { type RolloutPolicy, rolloutPolicy } from '../registry/rollout-policy.ts'
import { decide, type Moment } from '../registry/rollouts/decide.ts'
import { type Counts, noCounts, type Segment } from '../registry/rollouts/segments.ts'
import { outages } from '../test/support/rollout-outages.ts'
import {
  faulty,
  healthy,
  percent,
  runScenario,
  type Scenario,
  stress,
  tuned,
  unprotected,
} from '../test/support/rollout-scenarios.ts'
import {
  describeDetection,
  describeOutcome,
  detections,
  runDetection,
  runTolerated,
  runTrips,
  tolerated,
  trips,
} from '../test/support/rollout-table.ts'
import type { Row } from './measure.ts'
import { settings } from './settings.ts'

/** What one verdict costs, for the usual rollout and for the longest that can be configured. */
export function measureDecide(): Row[] {
  const everyPercent = rolloutPolicy.parse({ stages: Array.from({ length: 100 }, (_, at) => at + 1) })
  return [
    { what: 'decide(), the four usual stages', policy: rolloutPolicy.parse({}) },
    { what: 'decide(), a hundred stages', policy: everyPercent },
  ].map(({ what, policy }) => ({ what, values: timeDecide(policy), unit: 'µs', target: '≤ 1000 µs' }))
}

/** Prints the simulation of rollouts beside what the design's own simulation (another program) found. */
export function showSimulation(): void {
  const runs = settings.rollouts
  for (const detection of detections) console.log(describeDetection(detection, runDetection(detection.fault, runs)))
  for (const { what, fault, expected } of tolerated) {
    const name = `tolerated, ${what}, within 20 000 requests`.padEnd(60)
    const few = Math.ceil(runs / 8)
    console.log(`${name} rolled back ${percent(runTolerated(fault, few))} of ${few} · expected ${percent(expected)}`)
  }
  for (const trip of trips) {
    const name = `guard, requests of both until it trips, ${trip.what}`.padEnd(60)
    console.log(`${name} p50 ${runTrips(trip, runs)} · expected ${trip.expected}`)
  }
  for (const scenario of [...healthy, ...faulty, ...tuned, ...stress, ...outages, ...unprotected]) {
    console.log(describeOutcome(scenario, runScenario(scenario, isCrowd(scenario) ? Math.ceil(runs / 8) : runs)))
  }
}

// Crowds are drawn visitor by visitor, and take twenty times as long.
const isCrowd = ({ what }: Scenario) => /visitor/.test(what)

const [batches, callsEach] = [20, 50]

function timeDecide(policy: RolloutPolicy): number[] {
  const segments = policy.stages.flatMap((stage, index): Segment[] => {
    const at = { stage: index, weight: stage / 100, slowMs: 180 }
    const arms = { candidate: countsOf(stage * 10), baseline: countsOf((100 - stage) * 10) }
    return [
      { ...at, ...arms, opens: 'stage' },
      { ...at, ...arms, opens: 'half' },
    ]
  })
  const once = () => {
    const startedAt = performance.now()
    for (let call = 0; call < callsEach; call++) decide(segments, policy, observing)
    return ((performance.now() - startedAt) / callsEach) * 1000
  }
  once()
  return Array.from({ length: batches }, once)
}

function countsOf(requests: number): Counts {
  const bad = Math.ceil(requests / 50)
  return {
    ...noCounts,
    requests,
    tosses: requests,
    errorRequests: bad,
    errorUnits: bad,
    timedRequests: requests,
    slowUnits: bad,
  }
}

const observing: Moment = {
  activeSec: 100,
  coverage: 1,
  uncoveredSec: 0,
  guard: { watchSec: 100, heldSec: null },
  probes: null,
  before: { recentRequests: 3000, failures: { errors: 180, requests: 18_000 }, burst: { errors: 1, latency: 1 } },
}
