import { expect, test } from 'vitest'
import { defaultRolloutPolicy, rolloutPolicy } from './rollout-policy.ts'

test('whatever its stages, a rollout ends at 100', () => {
  expect(rolloutPolicy.parse({ stages: [10, 50] }).stages).toEqual([10, 50, 100])
  expect(rolloutPolicy.parse({ stages: [100] }).stages).toEqual([100])
  expect(defaultRolloutPolicy.stages).toEqual([5, 25, 50, 100])
})

test('the warm-up is half a minute, or a tenth of a shorter window, or what was said', () => {
  const warmupOf = (observationWindowSec: number, warmupSec?: number) =>
    rolloutPolicy.parse({ observationWindowSec, autoRollback: { warmupSec } }).autoRollback.warmupSec
  expect(warmupOf(3600)).toBe(30)
  expect(warmupOf(300)).toBe(30)
  expect(warmupOf(20)).toBe(2)
  expect(warmupOf(20, 15)).toBe(15)
})

test('a policy that was filled in is read again as it is', () => {
  expect(rolloutPolicy.parse(JSON.parse(JSON.stringify(defaultRolloutPolicy)))).toEqual(defaultRolloutPolicy)
})
