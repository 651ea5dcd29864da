import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bucketCount, bucketEdge, LatencyHistogram } from './latency-histogram.ts'

const ms = fc.double({ min: 0.05, max: 200_000, noNaN: true })

function histogramOf(values: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram()
  for (const value of values) histogram.add(value)
  return histogram
}

test('1 ms to 120 s take 591 buckets', () => {
  expect(bucketCount).toBe(591)
  expect(histogramOf([0, 0.4, 1]).toJSON()).toEqual([[0, 3]])
  expect(histogramOf([120_000, 1e9, Number.POSITIVE_INFINITY]).toJSON()).toEqual([[590, 3]])
})

test('the histograms of many edges, merged in any order, are the histogram of all requests, bucket for bucket', () => {
  const edges = fc.array(fc.array(ms, { maxLength: 200 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(edges, (perEdge) => {
      const all = histogramOf(perEdge.flat())
      for (const order of [perEdge, [...perEdge].reverse()]) {
        const merged = new LatencyHistogram()
        for (const values of order)
          merged.merge(LatencyHistogram.parse(JSON.parse(JSON.stringify(histogramOf(values)))))
        expect(merged.toJSON()).toEqual(all.toJSON())
        expect(merged.total).toBe(all.total)
      }
    }),
  )
})

test('a quantile is within 1 % of the request it stands for', () => {
  const values = fc.array(fc.double({ min: 1, max: 120_000, noNaN: true }), { minLength: 1, maxLength: 500 })
  fc.assert(
    fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, q) => {
      const sorted = [...list].sort((one, other) => one - other)
      const real = sorted[Math.max(0, Math.ceil(q * list.length) - 1)] ?? Number.NaN
      const histogram = histogramOf(list)
      const shown = histogram.quantile(q) ?? Number.NaN
      expect(Math.abs(shown - real) / real).toBeLessThan(0.01)
      const edge = histogram.quantileEdge(q) ?? Number.NaN
      expect(edge).toBeGreaterThanOrEqual(real * (1 - 1e-9))
      expect(edge).toBe(bucketEdge(real))
    }),
  )
})

test('nothing was measured: there is no P95', () => {
  expect(new LatencyHistogram().quantile(0.95)).toBeNull()
  expect(new LatencyHistogram().quantileEdge(0.95)).toBeNull()
})

test.each([
  ['a negative count', [[1, -2]]],
  ['half a request', [[1, 0.5]]],
  ['a bucket there is not', [[591, 1]]],
  ['a negative bucket', [[-1, 1]]],
  [
    'a bucket twice',
    [
      [3, 1],
      [3, 2],
    ],
  ],
  ['no number', [['1', 1]]],
  ['no list', { 1: 1 }],
  ['nothing', null],
])('a report with %s is refused', (_, report) => {
  expect(() => LatencyHistogram.parse(report)).toThrow()
  expect(LatencyHistogram.parse([[3, 2]]).total).toBe(2)
})

test('what is slower than a quantile’s upper edge is counted bucket by bucket', () => {
  const histogram = histogramOf(Array.from({ length: 100 }, (_, index) => (index + 1) * 10))
  for (const q of [0, 0.5, 0.95, 1]) {
    const edge = histogram.quantileEdge(q) ?? 0
    const slower = histogram.toJSON().filter(([bucket]) => 1.02 ** (bucket + 1) > edge * 1.001)
    expect(histogram.countOver(edge)).toBe(slower.reduce((sum, [, count]) => sum + count, 0))
  }
  expect(histogramOf([]).countOver(10)).toBe(0)
})
