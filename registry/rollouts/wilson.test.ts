import fc from 'fast-check'
import { expect, test } from 'vitest'
import { wilsonBound, z95 } from './wilson.ts'

test.each([
  [0, 0, 1],
  [0, 100, 0.026347],
  [3, 3, 1],
  [3, 100, 0.072716],
  [20, 1000, 0.028683],
])('%i bad of %i may be a share of %f', (bad, total, expected) => {
  expect(Math.abs(wilsonBound(bad, total, z95) - expected)).toBeLessThan(1e-6)
})

const counts = fc.nat({ max: 100_000 }).chain((total) => fc.tuple(fc.nat({ max: total }), fc.constant(total)))

test('what was seen lies between the two bounds, and both are shares', () => {
  fc.assert(
    fc.property(counts, ([bad, total]) => {
      const [low, high] = [wilsonBound(bad, total, -z95), wilsonBound(bad, total, z95)]
      const share = total > 0 ? bad / total : 0.5
      expect(low).toBeGreaterThanOrEqual(0)
      expect(low).toBeLessThanOrEqual(share + 1e-12)
      expect(high).toBeGreaterThanOrEqual(share - 1e-12)
      expect(high).toBeLessThanOrEqual(1)
    }),
  )
})

test('one more good request lowers the bound, one more bad one raises it', () => {
  fc.assert(
    fc.property(counts, ([bad, total]) => {
      const bound = wilsonBound(bad, total, z95)
      expect(wilsonBound(bad, total + 1, z95)).toBeLessThanOrEqual(bound + 1e-12)
      expect(wilsonBound(bad + 1, total + 1, z95)).toBeGreaterThanOrEqual(bound - 1e-12)
    }),
  )
})
