import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { bring, counted, liveApp, reportOf, rolloutOf } from '../test/support/rollout.ts'
import { renewLease } from './edges.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import { endRollout, openSegment, type Rollout } from './rollout.ts'
import { reportRollout } from './rollout-reports.ts'
import { channels } from './routes.ts'
import { TakenReports } from './taken-reports.ts'
import { Wakeup } from './wakeup.ts'

const database = await createDatabase({ max: 8 })
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())

const edges = ['edge-1', 'edge-2', 'edge-3']
beforeAll(async () => {
  for (const edge of edges) await renewLease(sql, edge)
})

let rollout: Rollout
beforeEach(async () => {
  const { app } = await liveApp(sql)
  rollout = await open(await rolloutOf(sql, await bring(sql, app)))
})

async function open(at: Rollout): Promise<Rollout> {
  await sql.begin((tx) =>
    openSegment(tx, at, { opens: 'stage', percent: 5, slowMs: null, tooSlowMs: null, by: 'platform' }),
  )
  const [opened] = await sql<Rollout[]>`select * from rollouts where id = ${at.id}`
  if (!opened) throw new Error('gone')
  return opened
}

type Kept = { edgeId: string; segment: number; seq: number; candidate: number[]; latency: string; paths: string }
const kept = () => sql<Kept[]>`
  select edge_id, segment, seq, to_jsonb(candidate) as candidate, candidate_latency as latency, failing_paths as paths
  from rollout_reports
  where rollout_id = ${rollout.id}
  order by edge_id, segment
`
const refusedOf = async () =>
  (await sql`select refused_reports from rollouts where id = ${rollout.id}`)[0]?.refusedReports
const some = { requests: 10, tosses: 4, errorRequests: 2, errorUnits: 1, timedRequests: 8, slowUnits: 1 }

describe('what an edge tells of a rollout', () => {
  test('is kept per edge, process and segment, with its latencies and failing paths', async () => {
    const failingPaths = [{ arm: 'candidate' as const, path: '/a "b" \\ {c}\u0000', status: 500, count: 2 }]
    const segments = [counted(0, 'candidate', some, [1, 20, 20]), counted(0, 'baseline', { requests: 90 })]
    expect(await reportRollout(sql, 'edge-1', [reportOf(rollout, 1, { segments, failingPaths })])).toEqual([])
    const [row] = await kept()
    expect(row?.candidate).toEqual([10, 4, 2, 1, 8, 1, 0, 0])
    expect(LatencyHistogram.parse(row?.latency).total).toBe(3)
    expect(JSON.parse(row?.paths ?? '')).toEqual(failingPaths)
  })

  test('is worth the same doubled, reordered and late', async () => {
    const report = (seq: number) =>
      reportOf(rollout, seq, { segments: [counted(0, 'candidate', { requests: seq * 10, tosses: seq })] })
    for (const seq of [3, 1, 3, 2, 5, 4, 5])
      expect(await reportRollout(sql, 'edge-1', [report(seq), report(Math.max(1, seq - 1))])).toEqual([])
    expect(await kept()).toMatchObject([{ seq: 5, candidate: [50, 5, 0, 0, 0, 0, 0, 0] }])
    expect(await refusedOf()).toBe(0)
  })

  test('keeps processes apart, also those of one edge, and one that has counted nothing is known to report', async () => {
    const segments = [counted(0, 'candidate', some)]
    await reportRollout(sql, 'edge-1', [
      reportOf(rollout, 1, { bootId: 'a', segments }),
      reportOf(rollout, 1, { bootId: 'b', segments }),
    ])
    expect(await reportRollout(sql, 'edge-2', [reportOf(rollout, 1)])).toEqual([])
    expect(await kept()).toMatchObject([{ edgeId: 'edge-1' }, { edgeId: 'edge-1' }, { edgeId: 'edge-2', segment: 0 }])
  })

  test('leaves segments alone in which nothing was counted any more', async () => {
    const first = counted(0, 'candidate', some)
    await reportRollout(sql, 'edge-1', [reportOf(rollout, 1, { segments: [first] })])
    await open(rollout)
    await reportRollout(sql, 'edge-1', [reportOf(rollout, 2, { segments: [first, counted(1, 'candidate', some)] })])
    await reportRollout(sql, 'edge-1', [reportOf(rollout, 3, { segments: [first, counted(1, 'candidate', some)] })])
    expect(await kept()).toMatchObject([
      { segment: 0, seq: 1 },
      { segment: 1, seq: 3 },
    ])
  })

  test('is sent once for segments that are over, as long as nobody refuses it', async () => {
    await open(rollout)
    const taken = new TakenReports()
    const tell = (seq: number, first: number, second: number) => {
      const [one, two] = [{ requests: first }, { requests: second }]
      const segments = [counted(0, 'candidate', one), counted(1, 'candidate', two)]
      return reportRollout(sql, 'edge-1', [reportOf(rollout, seq, { segments })], taken)
    }
    await tell(1, 10, 1)
    await sql`delete from rollout_reports where rollout_id = ${rollout.id}`
    await tell(2, 10, 2)
    expect(await kept()).toMatchObject([{ segment: 1, seq: 2 }])
    await tell(3, 11, 3)
    expect(await kept()).toMatchObject([{ segment: 0, seq: 3 }, { segment: 1 }])
    expect(await tell(4, 11, 1)).toHaveLength(1)
    await sql`delete from rollout_reports where rollout_id = ${rollout.id}`
    await tell(5, 11, 4)
    expect(await kept()).toMatchObject([{ segment: 0 }, { segment: 1 }])
  })

  test('wakes whoever leads when the new version failed again, and only then', async () => {
    const heard: string[] = []
    await using wakeup = await Wakeup.on(sql, [channels.rolloutReports], (id) => heard.push(id) > 0)
    const report = (seq: number, errorRequests: number) =>
      reportOf(rollout, seq, { segments: [counted(0, 'candidate', { requests: 9, errorRequests })] })
    await reportRollout(sql, 'edge-1', [report(1, 1)])
    await reportRollout(sql, 'edge-1', [report(2, 1)])
    await reportRollout(sql, 'edge-1', [report(3, 2)])
    await sql`select pg_notify(${channels.rolloutReports}, 'last')`
    await expect.poll(() => heard).toContain('last')
    expect(heard).toEqual([rollout.id, rollout.id, 'last'])
    await wakeup.next({ timeoutMs: 0 })
  })
})

describe('visitors who were seen to fail', () => {
  const unitsOf = () =>
    sql`select encode(unit, 'hex') as unit, segment, arm from rollout_bad_units where rollout_id = ${rollout.id} order by unit`
  const segments = [counted(0, 'candidate', some), counted(0, 'baseline', some), counted(1, 'candidate', some)]
  const unit = (segment: number, arm: 'candidate' | 'baseline', digits = 'ab') =>
    ({ metric: 'errors', unit: digits.repeat(8), segment, arm }) as const

  test('are one each, whoever saw them in whatever order, in the earliest segment', async () => {
    await open(rollout)
    await reportRollout(sql, 'edge-1', [reportOf(rollout, 1, { segments, units: [unit(1, 'candidate')] })])
    const again = [unit(0, 'candidate'), unit(1, 'candidate'), unit(0, 'baseline', 'cd')]
    await reportRollout(sql, 'edge-2', [reportOf(rollout, 1, { segments, units: again })])
    await reportRollout(sql, 'edge-3', [reportOf(rollout, 1, { segments, units: [unit(1, 'candidate')] })])
    expect(await unitsOf()).toEqual([
      { unit: 'ab'.repeat(8), segment: 0, arm: 'candidate' },
      { unit: 'cd'.repeat(8), segment: 0, arm: 'baseline' },
    ])
  })

  test('are not taken from a report that is refused', async () => {
    const units = [unit(7, 'candidate')]
    const report = reportOf(rollout, 1, { segments: [counted(7, 'candidate', some)], units })
    expect(await reportRollout(sql, 'edge-1', [report])).toMatchObject([{ reason: 'the segment has not begun' }])
    expect(await unitsOf()).toEqual([])
  })
})

describe('a report that cannot be true is refused as a whole and counted', () => {
  const segments = [counted(0, 'candidate', some)]
  const told = (bad: object) => ({ ...reportOf(rollout, 2, { segments }), ...bad })
  const counts = (bad: object) => ({ segments: [counted(0, 'candidate', { ...some, ...bad })] })

  test.each([
    ['negative counters', () => counts({ requests: -1 }), 'segments.0.counts.requests'],
    ['counters that are no numbers', () => counts({ requests: Number.NaN }), 'segments.0.counts.requests'],
    ['counters past counting', () => counts({ requests: 1e300 }), 'segments.0.counts.requests'],
    ['more failures than requests', () => counts({ errorRequests: 11 }), 'more of a kind'],
    ['a segment of the future', () => ({ segments: [counted(1, 'candidate', some)] }), 'has not begun'],
    ['a segment twice', () => ({ segments: [...segments, ...segments] }), 'has a segment twice'],
    ['a boot without a name', () => ({ bootId: '' }), 'bootId'],
    ['text for segments', () => ({ segments: 'x' }), 'segments'],
    ['a histogram that is none', () => ({ segments: [{ ...segments[0], latency: [[1, 1]] }] }), 'latency'],
    [
      'more units than requests that failed',
      () => ({
        units: ['aa', 'bb', 'cc'].map((digits) => ({
          metric: 'errors',
          unit: digits.repeat(8),
          segment: 0,
          arm: 'candidate',
        })),
      }),
      'more than the requests',
    ],
    [
      'a unit that is no hash',
      () => ({ units: [{ metric: 'errors', unit: 'x', segment: 0, arm: 'candidate' }] }),
      'unit',
    ],
  ])('%s', async (_, bad, reason) => {
    const refused = await reportRollout(sql, 'edge-1', [told(bad())])
    expect(refused).toEqual([
      { rolloutId: rollout.id, bootId: expect.any(String), reason: expect.stringContaining(reason) },
    ])
    expect(await kept()).toEqual([])
    expect(await refusedOf()).toBe(1)
  })

  test('of an edge nobody knows', async () => {
    expect(await reportRollout(sql, 'stranger', [told({})])).toMatchObject([{ reason: 'the edge is not known' }])
    expect([await kept(), await refusedOf()]).toEqual([[], 1])
  })

  test('with counters that fall, while what was believed before stays', async () => {
    await reportRollout(sql, 'edge-1', [told({})])
    const less = reportOf(rollout, 3, counts({ requests: 9 }))
    expect(await reportRollout(sql, 'edge-1', [less])).toMatchObject([{ reason: 'counters fall' }])
    expect(await reportRollout(sql, 'edge-1', [reportOf(rollout, 4)])).toMatchObject([{ reason: 'counters fall' }])
    expect([await kept(), await refusedOf()]).toMatchObject([[{ seq: 2, candidate: [10, 4, 2, 1, 8, 1, 0, 0] }], 2])
  })

  test('about a rollout that has ended, or never was', async () => {
    await endRollout(sql, rollout, { state: 'aborted', sentence: 'x', by: 'ada' })
    const unknown = { ...reportOf(rollout, 1, { segments }), rolloutId: 'unknown' }
    const refused = await reportRollout(sql, 'edge-1', [told({}), unknown])
    expect(new Map(refused.map(({ rolloutId, reason }) => [rolloutId, reason]))).toEqual(
      new Map([
        [rollout.id, 'the rollout has ended'],
        ['unknown', 'there is no such rollout'],
      ]),
    )
    expect(await refusedOf()).toBe(1)
  })

  test('beside which the others are taken in', async () => {
    const good = reportOf(rollout, 1, { bootId: 'good', segments })
    // @ts-expect-error nothing is as it should be
    const refused = await reportRollout(sql, 'edge-1', [null, told(counts({ tosses: 99 })), good, 'x'])
    expect(refused).toHaveLength(3)
    expect(await kept()).toHaveLength(1)
  })
})
