import { expect, test } from 'vitest'
import { readCoverage } from './coverage.ts'

const edge = (recentRequests: number, reportedMsAgo = 500, hasWeight = true) => ({
  recentRequests,
  reportedMsAgo,
  hasWeight,
})

test('coverage is the share of the traffic behind edges that report and have the weight', () => {
  expect(readCoverage([edge(100), edge(100), edge(100)])).toBeCloseTo(1)
  expect(readCoverage([edge(100), edge(100), edge(100, 60_000)])).toBeCloseTo(2 / 3)
  expect(readCoverage([edge(900), edge(100, 500, false)])).toBeCloseTo(0.9)
  expect(readCoverage([edge(0), edge(0), edge(0, 60_000)])).toBeCloseTo(2 / 3)
  expect(readCoverage([])).toBe(0)
})
