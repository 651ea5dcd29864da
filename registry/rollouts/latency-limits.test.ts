import { expect, test } from 'vitest'
import { LatencyHistogram } from '../latency-histogram.ts'
import { defaultRolloutPolicy } from '../rollout-policy.ts'
import { readLatencyLimits } from './latency-limits.ts'

const { autoRollback } = defaultRolloutPolicy

function recent(...runs: [count: number, ms: number][]): LatencyHistogram {
  const histogram = new LatencyHistogram()
  for (const [count, ms] of runs) for (let left = count; left > 0; left--) histogram.add(ms)
  return histogram
}

test('the limit is the P95 of the old deployment, and 5 % of its requests at most are slower', () => {
  const limits = readLatencyLimits(recent([190, 50], [10, 900]), autoRollback)
  expect(limits?.slowMs).toBeGreaterThanOrEqual(50)
  expect(limits?.slowMs).toBeLessThan(51)
})

test('a slow app may be half as slow again, a fast one 20 ms slower', () => {
  const slow = readLatencyLimits(recent([200, 1000]), autoRollback)
  expect(slow?.tooSlowMs).toBeCloseTo(1.5 * (slow?.slowMs ?? 0), 6)
  const fast = readLatencyLimits(recent([200, 2]), autoRollback)
  expect(fast?.tooSlowMs).toBeCloseTo((fast?.slowMs ?? 0) + 20, 6)
})

test('with fewer than 200 samples latency is not looked at', () => {
  expect(readLatencyLimits(recent([199, 50]), autoRollback)).toBeNull()
  expect(readLatencyLimits(recent([200, 50]), autoRollback)).not.toBeNull()
})
