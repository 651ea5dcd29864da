import { expect, test } from 'vitest'
import type { ReportedCounts } from '../../../registry/rollout-reports.ts'
import type { SentReport } from '../../edge-messages.ts'
import { mostUnits } from './bad-units.ts'
import { RolloutTally, type Tossed } from './rollout-tally.ts'

const rollout = {
  ...{ id: 'r1', stage: 0, segment: 0, from: 'old', to: 'new' },
  ...{ slowMs: 100, tooSlowMs: 150, warmupSec: 0 },
}
const stranger: Tossed = {
  ...{ chosen: 'new', unit: 'a'.repeat(16), isKnown: false },
  ...{ target: '/page?x=1', startedAt: 0 },
}
const visitor = (unit: number): Tossed => ({
  ...stranger,
  unit: unit.toString(16).padStart(16, '0'),
  isKnown: true,
})

function begin(tally: RolloutTally, tossed: Partial<Tossed> = {}) {
  const visit = tally.begin({ ...stranger, ...tossed })
  if (!visit) throw new Error('it was not counted')
  return visit
}

function countsOf({ segments }: SentReport, arm: 'candidate' | 'baseline' = 'candidate'): Partial<ReportedCounts> {
  const counts = segments.find((one) => one.arm === arm)?.counts
  return Object.fromEntries(Object.entries(counts ?? {}).filter(([, count]) => count > 0))
}

const forOne = { isCacheable: false, hasCookie: false }

test('an answer counts for the arm of its deployment, with its time to the first byte', () => {
  const tally = new RolloutTally(rollout, 0)
  const visit = begin(tally)
  visit.asked()
  visit.answered(60, forOne)
  visit.settled(200)
  begin(tally, { chosen: 'old', isKnown: true }).settled(404)
  const report = tally.report('boot')
  expect(countsOf(report)).toEqual({ requests: 1, tosses: 1, timedRequests: 1 })
  expect(countsOf(report, 'baseline')).toEqual({ requests: 1, refusedRequests: 1 })
  expect(report.segments.map(({ latency }) => latency)).toEqual([expect.stringMatching(/^\d+ 1$/), ''])
})

test('a request of neither arm is not counted', () => {
  expect(new RolloutTally(rollout, 0).begin({ ...stranger, chosen: 'third' })).toBeNull()
})

test('a request that hangs is slow when the clock says so, and once', () => {
  const tally = new RolloutTally(rollout, 0)
  const visit = begin(tally)
  visit.asked()
  tally.look(100)
  expect(countsOf(tally.report('boot'))).toEqual({ requests: 1, tosses: 1 })
  tally.look(101)
  expect(countsOf(tally.report('boot'))).toEqual({ requests: 1, tosses: 1, timedRequests: 1 })
  expect(tally.report('boot').units).toMatchObject([{ metric: 'latency', segment: 0, arm: 'candidate' }])
  tally.look(151)
  visit.answered(500, forOne)
  visit.settled(200)
  const report = tally.report('boot')
  expect(countsOf(report)).toEqual({ requests: 1, tosses: 1, timedRequests: 1, tooSlowRequests: 1 })
  expect(report.units).toHaveLength(1)
})

test('a client that left counts for nothing before the limit, and as slow behind it', () => {
  const tally = new RolloutTally(rollout, 0)
  for (const leftAt of [99, 120]) {
    const visit = begin(tally)
    visit.asked()
    visit.left(leftAt, true)
  }
  tally.look(1_000)
  expect(countsOf(tally.report('boot'))).toEqual({ requests: 2, tosses: 2, timedRequests: 1, slowUnits: 1 })
})

test('what nobody asked the app for is neither fast nor slow', () => {
  const tally = new RolloutTally(rollout, 0)
  begin(tally).settled(200)
  begin(tally).left(500, false)
  tally.look(1_000)
  expect(countsOf(tally.report('boot'))).toEqual({ requests: 2, tosses: 2 })
})

test('what is for the cache is left out of latency, also where one arm still waits for it', () => {
  const tally = new RolloutTally(rollout, 0)
  const hit = begin(tally, { chosen: 'old' })
  hit.asked()
  hit.answeredByEdge(1, 200)
  hit.settled(200)
  const cold = begin(tally)
  cold.asked()
  tally.look(120)
  cold.answered(400, { isCacheable: true, hasCookie: false })
  cold.settled(200)
  expect(countsOf(tally.report('boot'))).toEqual({ requests: 1, tosses: 1 })
})

test('the warm-up comes once a stage, and counts errors', () => {
  const tally = new RolloutTally({ ...rollout, warmupSec: 10 }, 0)
  const ask = (startedAt: number) => {
    const visit = begin(tally, { startedAt })
    visit.asked()
    visit.answered(startedAt + 200, forOne)
    visit.settled(500)
    visit.failed(500)
  }
  ask(9_999)
  const cold = tally.report('boot')
  expect(countsOf(cold)).toEqual({ requests: 1, tosses: 1, errorRequests: 1, errorUnits: 1 })
  expect(cold.segments[0]?.latency).toBe('')
  ask(10_000)
  expect(countsOf(tally.report('boot'))).toMatchObject({ timedRequests: 1, slowUnits: 1, tooSlowRequests: 1 })
  tally.follow({ ...rollout, warmupSec: 10, segment: 1 }, 20_000)
  ask(20_001)
  tally.follow({ ...rollout, warmupSec: 10, segment: 2, stage: 1 }, 30_000)
  ask(30_001)
  const timed = tally.report('boot').segments.filter(({ arm }) => arm === 'candidate')
  expect(timed.map(({ segment, counts }) => [segment, counts.timedRequests])).toEqual([
    [0, 1],
    [1, 1],
    [2, 0],
  ])
})

test('a visitor is bad once by each metric, wherever the rollout has come; who cannot come back each time', () => {
  const tally = new RolloutTally(rollout, 0)
  const fail = (tossed: Partial<Tossed>) => begin(tally, tossed).failed(500)
  for (let again = 0; again < 3; again++) fail(visitor(1))
  fail({})
  fail({})
  tally.follow({ ...rollout, stage: 1, segment: 1 }, 0)
  fail(visitor(1))
  fail(visitor(2))
  const report = tally.report('boot')
  expect(report.units).toEqual([
    { metric: 'errors', unit: '0000000000000001', segment: 0, arm: 'candidate' },
    { metric: 'errors', unit: '0000000000000002', segment: 1, arm: 'candidate' },
  ])
  const [first] = report.segments
  expect(first?.counts).toMatchObject({ requests: 5, errorRequests: 5, errorUnits: 2 })
})

test('a new visitor whose answer brings the cookie is a visitor', () => {
  const tally = new RolloutTally(rollout, 0)
  const visit = begin(tally)
  visit.asked()
  visit.answered(10, { isCacheable: false, hasCookie: true })
  visit.settled(500)
  visit.failed(500)
  expect(countsOf(tally.report('boot')).errorUnits).toBeUndefined()
  expect(tally.report('boot').units).toMatchObject([{ metric: 'errors', unit: stranger.unit }])
})

test('of more bad visitors than are kept none is counted any more, of neither arm', () => {
  const tally = new RolloutTally(rollout, 0)
  for (let unit = 0; unit < mostUnits; unit++) begin(tally, visitor(unit)).failed(500)
  for (const chosen of ['old', 'new'])
    for (const who of [visitor(mostUnits), {}]) begin(tally, { ...who, chosen }).failed(500)
  let told = 0
  for (let seq = 1; ; seq++) {
    const { units } = tally.report('boot')
    if (units.length === 0) break
    told += units.length
    tally.acknowledge(seq)
  }
  expect(told).toBe(mostUnits)
  const report = tally.report('boot')
  expect(countsOf(report)).toMatchObject({ requests: mostUnits + 2, errorRequests: mostUnits + 2 })
  expect(countsOf(report).errorUnits).toBeUndefined()
  expect(countsOf(report, 'baseline')).toMatchObject({ requests: 2, errorRequests: 2 })
})

test('what was acknowledged is not told again, but for the segment in force; what was not is', () => {
  const tally = new RolloutTally(rollout, 0)
  begin(tally, visitor(1)).failed(500)
  tally.follow({ ...rollout, segment: 1 }, 0)
  const segmentsIn = ({ segments }: SentReport) => [...new Set(segments.map(({ segment }) => segment))]
  const first = tally.report('boot')
  expect(segmentsIn(first)).toEqual([0, 1])
  expect(segmentsIn(tally.report('boot'))).toEqual([0, 1])
  tally.acknowledge(first.seq)
  const next = tally.report('boot')
  expect(segmentsIn(next)).toEqual([1])
  expect(next.units).toEqual([])
})

test('a candidate that fails is urgent, an old deployment that fails is not', () => {
  const tally = new RolloutTally(rollout, 0)
  begin(tally, { chosen: 'old' }).failed(500)
  expect(tally.isUrgent).toBe(false)
  begin(tally).failed(500)
  expect(tally.isUrgent).toBe(true)
  tally.report('boot')
  expect(tally.isUrgent).toBe(false)
})

test('the five paths that failed most are told, without their queries', () => {
  const tally = new RolloutTally(rollout, 0)
  for (let path = 1; path <= 7; path++)
    for (let time = 0; time < path; time++) begin(tally, { target: `/${path}?q=${time}` }).failed(500)
  expect(tally.report('boot').failingPaths).toEqual(
    [7, 6, 5, 4, 3].map((count) => ({ arm: 'candidate', path: `/${count}`, status: 500, count })),
  )
})

test('of a segment that is over, what comes late to one arm is told with all of the other', () => {
  const tally = new RolloutTally(rollout, 0)
  const late = begin(tally)
  begin(tally, { chosen: 'old' }).settled(200)
  tally.follow({ ...rollout, segment: 1 }, 20)
  tally.report('boot')
  tally.acknowledge(1)
  const segmentsOf = (report: SentReport) => report.segments.map(({ segment, arm }) => `${segment} ${arm}`).sort()
  expect(segmentsOf(tally.report('boot'))).toEqual(['1 baseline', '1 candidate'])
  late.failed(500)
  const report = tally.report('boot')
  expect(segmentsOf(report)).toEqual(['0 baseline', '0 candidate', '1 baseline', '1 candidate'])
  expect(report.segments.find(({ segment, arm }) => segment === 0 && arm === 'baseline')?.counts.requests).toBe(1)
})
