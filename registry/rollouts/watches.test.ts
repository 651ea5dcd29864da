import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { rolloutPolicy } from '../rollout-policy.ts'
import { noCounts, type Segment } from './segments.ts'
import { readWatches } from './watches.ts'

const policy = rolloutPolicy.parse({})
const burst = { errors: 1, latency: 1 }

/** Both halves of each stage. */
const rolledOut = (percents: readonly number[]): Segment[] =>
  percents.flatMap((percent, stage) =>
    (['stage', 'half'] as const).map((opens) => ({
      ...{ stage, opens, weight: percent / 100, slowMs: 100 },
      ...{ candidate: noCounts, baseline: noCounts },
    })),
  )

const read = (percents: readonly number[]) => readWatches(rolledOut(percents), policy, burst)
const spent = (percents: readonly number[]) => read(percents).reduce((sum, { lnBar }) => sum + Math.exp(-lnBar), 0)
const barsOf = (percents: readonly number[]) =>
  read(percents)
    .filter(({ metric, opens }) => metric === 'errors' && opens === 'stage')
    .map(({ lnBar }) => Math.round(Math.exp(lnBar)))
    .reverse()

describe('the bars of all watches of a rollout together', () => {
  test('are the rate of false rollbacks, with the planned stages and none by hand', () => {
    expect(barsOf([5, 25, 50])).toEqual([750, 750, 750])
    expect(spent([5, 25, 50])).toBeCloseTo(policy.autoRollback.falseRollbackRate, 9)
  })

  test('are never more, whatever weights somebody sets by hand, and none moves when a stage is added', () => {
    const rising = fc
      .uniqueArray(fc.integer({ min: 1, max: 89 }), { maxLength: 12 })
      .map((all) => all.sort((a, b) => a - b))
    fc.assert(
      fc.property(rising, (percents) => {
        expect(spent(percents)).toBeLessThanOrEqual(policy.autoRollback.falseRollbackRate * (1 + 1e-9))
        const before = barsOf(percents.slice(0, -1))
        expect(barsOf(percents).slice(0, before.length)).toEqual(before)
      }),
    )
  })

  test('leave a bar for stages by hand, between the planned ones and in their place', () => {
    expect(barsOf([5, 10, 25, 50])).toEqual([750, 1500, 1000, 1000])
    expect(barsOf([5, 40])).toEqual([750, 1125])
  })
})
