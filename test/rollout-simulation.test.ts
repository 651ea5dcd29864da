import { expect, test } from 'vitest'
import { defaultRolloutPolicy } from '../registry/rollout-policy.ts'
import { Random } from './support/random.ts'
import { type Fault, requestsToDetect } from './support/rollout-detection.ts'
import { deadCandidate, outages } from './support/rollout-outages.ts'
import {
  faulty,
  healthy,
  quantile,
  runScenario,
  type Scenario,
  stress,
  unprotected,
} from './support/rollout-scenarios.ts'
import { simulateRollout } from './support/rollout-simulation.ts'

// Each of these is chance with a fixed seed: the same on every machine and in every run. The long ones are in test/full.

const runs = 60

function scenario(list: Scenario[], what: string): Scenario {
  const found = list.find((one) => one.what === what)
  if (!found) throw new Error(`there is no scenario "${what}"`)
  return found
}

test.for(healthy)('$what: hardly a rollout in a hundred is rolled back', (one) => {
  expect(runScenario(one, runs).share).toBeLessThanOrEqual(0.02)
})

test.for<[string, Fault, number, number]>([
  ['fails instead of working', { errors: [0, 1] }, 3, 3],
  ['fails 5 % instead of 0.1 %', { errors: [0.001, 0.05] }, 68, 142],
  ['is twice as slow', { slowness: 2 }, 56, 108],
])('a candidate that %s is found as soon as the design says', ([, fault, half, most]) => {
  const random = new Random(1)
  const found = Array.from({ length: 200 }, () => requestsToDetect(fault, random))
  expect(quantile(found, 0.5) / half).toBeGreaterThan(0.75)
  expect(quantile(found, 0.5) / half).toBeLessThan(1.25)
  expect(quantile(found, 0.9) / most).toBeGreaterThan(0.75)
  expect(quantile(found, 0.9) / most).toBeLessThan(1.25)
})

test('faults are found at 10 requests/s', () => {
  for (const what of ['errors 0.1 % → 5 %, 10 requests/s', 'P95 × 2, 10 requests/s'])
    expect(runScenario(scenario(faulty, what), 40).share).toBe(1)
})

test.for([
  'shared outage, 30 % errors for 20 s',
  'shared outage, every request for 2 minutes',
  'both arms 1.6 × as slow as before',
  'candidate 4 × as slow for 30 s of each stage',
  'two kinds of requests, P95 at the cliff between',
  'pauses of an instance',
])('%s: no reason to go back', (what) => {
  expect(runScenario(scenario(stress, what), 50).share).toBeLessThanOrEqual(0.02)
})

test.for(outages.filter(({ what }) => /100 % for (10 s, 100|30 s, 10) requests/.test(what)))(
  '$what: no reason to go back',
  (one) => {
    expect(runScenario(one, 40).share).toBeLessThanOrEqual(0.03)
  },
)

test('behind the fuse a dead candidate is found with its third failure, and five visitors see it', () => {
  const random = new Random(3)
  const endings = Array.from({ length: 40 }, () => {
    const traffic = deadCandidate(10, defaultRolloutPolicy, random)
    return { ...simulateRollout(traffic, defaultRolloutPolicy, 1), seen: traffic.seen }
  })
  expect(new Set(endings.map(({ end }) => end))).toEqual(new Set(['rollback']))
  // Ten requests a second, half a one of them the candidate's: the third comes after six seconds.
  const halfOf = (what: 'sec' | 'errors') =>
    quantile(
      endings.map(({ sec, candidate }) => (what === 'sec' ? sec : candidate.errorRequests)),
      0.5,
    )
  expect(halfOf('errors')).toBe(3)
  expect(halfOf('sec')).toBeLessThanOrEqual(7)
  expect(Math.max(...endings.map(({ seen }) => seen))).toBeLessThanOrEqual(5)
})

test('one broken visitor behind three edges is no reason to go back, and would be if requests were counted', () => {
  const counted = runScenario(scenario(unprotected, 'one broken visitor, counted by request'), 20)
  expect(counted.share).toBeGreaterThan(0.1)
  expect(runScenario(scenario(stress, 'one broken visitor behind three edges'), 20).share).toBe(0)
})

test('a pause that would be taken for a fault is none when the history had such pauses', () => {
  expect(runScenario(scenario(unprotected, 'pauses without the burst factor'), 40).share).toBeGreaterThan(0.3)
})

test('a leak that shows in the middle of the last compared stage is found', () => {
  expect(runScenario(scenario(stress, 'P95 × 2 from minute 3 of the 50 % stage'), 40).share).toBe(1)
})

test('what both versions share and stays broken takes the new one back', () => {
  expect(runScenario(scenario(stress, 'both versions fail 30 % from minute 7 on'), 20).share).toBe(1)
})

test('a healthy rollout goes through its stages in twenty minutes and is done', () => {
  const [one] = healthy.slice(4)
  if (!one) throw new Error('there is no healthy scenario')
  const next = one.prepare(defaultRolloutPolicy, new Random(2))
  expect(simulateRollout(next(), defaultRolloutPolicy)).toMatchObject({
    end: 'done',
    sec: 1200,
    stage: 3,
    wasHeld: false,
  })
})
