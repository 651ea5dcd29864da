import { expect, test } from 'vitest'
import { outages } from '../support/rollout-outages.ts'
import { faulty, healthy, percent, runScenario, type Scenario, stress, tuned } from '../support/rollout-scenarios.ts'
import {
  describeDetection,
  describeOutcome,
  detections,
  runDetection,
  runTolerated,
  runTrips,
  tolerated,
  trips,
} from '../support/rollout-table.ts'

// The whole of the simulation, with fixed seeds: a few minutes. Each test prints its line of the table.

function measure(scenario: Scenario, runs: number) {
  const outcome = runScenario(scenario, runs)
  process.stdout.write(`${describeOutcome(scenario, outcome)}\n`)
  return outcome
}

test.for(healthy)('$what: of 4000 rollouts not 0.6 % are rolled back, where 1 % would be allowed', (scenario) => {
  expect(measure(scenario, 4000).share).toBeLessThanOrEqual(0.006)
})

test.for(detections)('$what is found after as many requests as expected, ± 15 %', (detection) => {
  const found = runDetection(detection.fault, 2000)
  process.stdout.write(`${describeDetection(detection, found)}\n`)
  for (const at of [0, 1] as const) {
    expect(found[at] / detection.expected[at]).toBeGreaterThanOrEqual(0.85)
    expect(found[at] / detection.expected[at]).toBeLessThanOrEqual(1.15)
  }
})

test.for(tolerated)('$what is mostly tolerated', ({ what, fault, expected }) => {
  const share = runTolerated(fault, 500)
  process.stdout.write(
    `${what}: rolled back within 20 000 requests ${percent(share)} · expected ${percent(expected)}\n`,
  )
  expect(share).toBeLessThan(0.2)
})

test.for(trips)('the guard and $what', (trip) => {
  const found = runTrips(trip, 1000)
  process.stdout.write(`guard, ${trip.what}: half of the time by ${found} requests · expected ${trip.expected}\n`)
  if (Number.isFinite(trip.expected)) expect(found).toBeLessThanOrEqual(trip.expected)
  else expect(found).toBe(Number.POSITIVE_INFINITY)
})

test.for(faulty)('$what', (scenario) => {
  const { share } = measure(scenario, 1000)
  expect(Math.abs(share - scenario.expected.share)).toBeLessThan(0.15)
})

test.for(tuned)('$what', (scenario) => {
  const { share } = measure(scenario, 1000)
  expect(share).toBeGreaterThan(scenario.expected.share - 0.15)
})

// Crowds are drawn visitor by visitor, and take twenty times as long.
const isCrowd = ({ what }: Scenario) => /visitor/.test(what)
const isFault = ({ expected }: Scenario) => expected.share === 1

test.for(stress.filter((scenario) => !isFault(scenario)))('$what: no reason to go back', (scenario) => {
  const bound = scenario.what === 'pauses of an instance' ? 0.01 : 0.006
  expect(measure(scenario, isCrowd(scenario) ? 1000 : 4000).share).toBeLessThanOrEqual(bound)
})

test.for(outages)('$what: no reason to go back', (scenario) => {
  expect(measure(scenario, 1000).share).toBeLessThanOrEqual(0.006)
})

test.for(stress.filter(isFault))('$what: found', (scenario) => {
  const { share } = measure(scenario, isCrowd(scenario) ? 300 : 1000)
  expect(share).toBeGreaterThanOrEqual(isCrowd(scenario) ? 0.9 : 0.98)
})
