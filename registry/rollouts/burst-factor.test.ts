import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Random } from '../../test/support/random.ts'
import { burstFactor } from './burst-factor.ts'

const bins = (...bad: number[]) => bad.map((of100) => ({ bad: of100, total: 100 }))

test('heaps of bad requests give the factor that was worked out by another program', () => {
  expect(Math.abs(burstFactor(bins(0, 3, 1, 12, 0, 2, 7, 0, 1, 4)) - 5.116457)).toBeLessThan(1e-6)
})

test('bad requests that come by chance give 1', () => {
  const random = new Random(3)
  const histories = Array.from({ length: 200 }, () =>
    Array.from({ length: 180 }, () => ({ bad: random.binomial(200, 0.05), total: 200 })),
  )
  const factors = histories.map((history) => burstFactor(history))
  expect(factors.filter((factor) => factor === 1).length).toBeGreaterThan(190)
})

test('fewer than 20 bad requests say nothing, and a wild history counts no more than 20 times', () => {
  expect(burstFactor(bins(0, 19, 0, 0))).toBe(1)
  expect(burstFactor(bins(0, 20, 0, 0))).toBeGreaterThan(10)
  expect(burstFactor(Array.from({ length: 50 }, (_, at) => ({ bad: at === 7 ? 90 : 0, total: 100 })))).toBe(20)
})

test('whatever the history, the factor is from 1 to 20', () => {
  const bin = fc
    .nat({ max: 500 })
    .chain((total) => fc.record({ bad: fc.nat({ max: total }), total: fc.constant(total) }))
  fc.assert(
    fc.property(fc.array(bin, { maxLength: 180 }), (history) => {
      const factor = burstFactor(history)
      expect(factor).toBeGreaterThanOrEqual(1)
      expect(factor).toBeLessThanOrEqual(20)
    }),
  )
})
