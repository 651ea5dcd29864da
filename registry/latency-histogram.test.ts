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
  expect(histogramOf([0, 0.4, 1]).toText()).toBe('1 3')
  expect(histogramOf([120_000, 1e9, Number.POSITIVE_INFINITY]).toText()).toBe('591 3')
  expect(histogramOf([1, 1.03, 120_000]).toText()).toBe('1 1 1 1 589 1')
})

test('the histograms of many edges, merged in any order, are the histogram of all requests, bucket for bucket', () => {
  const edges = fc.array(fc.array(ms, { maxLength: 200 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(edges, (perEdge) => {
      const all = histogramOf(perEdge.flat())
      for (const order of [perEdge, [...perEdge].reverse()]) {
        const merged = new LatencyHistogram()
        for (const values of order) merged.merge(LatencyHistogram.parse(histogramOf(values).toText()))
        expect(merged.toText()).toBe(all.toText())
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
  ['a negative count', '2 -2'],
  ['half a request', '2 0.5'],
  ['a bucket without requests', '2 0'],
  ['a bucket there is not', '592 1'],
  ['a bucket there is not, by steps', '300 1 292 1'],
  ['a bucket twice', '4 1 0 2'],
  ['a step without a count', '4 1 5'],
  ['two spaces', '4  1'],
  ['a count past counting', '4 1e300'],
  ['words', 'a b'],
  ['a list', [4, 1]],
  ['nothing', null],
])('a report with %s is refused', (_, report) => {
  expect(() => LatencyHistogram.parse(report)).toThrow('latency: ')
  expect(LatencyHistogram.parse('4 2').total).toBe(2)
})

test('what is slower than a quantile’s upper edge is counted bucket by bucket', () => {
  const values = Array.from({ length: 100 }, (_, index) => (index + 1) * 10)
  const histogram = histogramOf(values)
  for (const q of [0, 0.5, 0.95, 1]) {
    const edge = histogram.quantileEdge(q) ?? 0
    expect(histogram.countOver(edge)).toBe(values.filter((ms) => bucketEdge(ms) > edge * 1.001).length)
  }
  expect(histogramOf([]).countOver(10)).toBe(0)
})
