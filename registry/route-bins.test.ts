import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { bring, liveApp, rolloutOf } from '../test/support/rollout.ts'
import { renewLease } from './edges.ts'
import { newId } from './ids.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import type { RouteBin } from './rollout-reports.ts'
import { pruneBins, reportBins } from './route-bins.ts'

const database = await createDatabase()
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())
beforeAll(() => renewLease(sql, 'edge-1'))

async function binOfNewRoute(): Promise<RouteBin> {
  const { live } = await liveApp(sql)
  const latency = new LatencyHistogram()
  latency.add(12)
  return {
    ...{
      routeId: live.routeId ?? '',
      deploymentId: live.id,
      bootId: newId(),
      turn: 1,
      beganAt: performance.now() - 15_000,
    },
    ...{ requests: 100, errors: 3, latency },
  }
}

const keptOf = ({ bootId }: RouteBin) => sql`
  select route_id, requests, errors, latency
  from route_bins
  where boot_id = ${bootId}
`

test('ten seconds of a route are kept once, however often they are told', async () => {
  const bin = await binOfNewRoute()
  expect(await reportBins(sql, 'edge-1', [bin])).toEqual([])
  expect(await reportBins(sql, 'edge-1', [bin, bin])).toEqual([])
  const [row, ...more] = await keptOf(bin)
  expect(row).toMatchObject({ routeId: bin.routeId, requests: 100, errors: 3 })
  expect(row?.latency).toBe(bin.latency.toText())
  expect(more).toEqual([])
})

test('a bin is kept where it began by the clock of the database, at whole ten seconds, and stays there when it is told again later', async () => {
  const bin = await binOfNewRoute()
  const kept = () => sql<{ at: Date; ageSec: number }[]>`
    select at, extract(epoch from clock_timestamp() - at)::float8 as age_sec
    from route_bins
    where boot_id = ${bin.bootId}
  `
  const beganAt = performance.now() - 180_000
  await reportBins(sql, 'edge-1', [{ ...bin, beganAt }])
  const [{ at, ageSec } = { at: new Date(1), ageSec: 0 }] = await kept()
  expect(ageSec).toBeGreaterThan(170)
  expect(ageSec).toBeLessThan(240)
  expect(at.getTime() % 10_000).toBe(0)
  await reportBins(sql, 'edge-1', [{ ...bin, beganAt: beganAt + 60_000 }])
  expect((await kept()).map((row) => row.at)).toEqual([at])
  await reportBins(sql, 'edge-1', [{ ...bin, turn: 2, beganAt }])
  expect(await kept()).toHaveLength(2)
})

test.each([
  ['negative', { requests: -1 }, 'requests'],
  ['with more errors than requests', { errors: 101 }, 'more errors'],
  ['of yesterday', { beganAt: performance.now() - 86_400_000 }, 'too old'],
  ['of a time that is none', { beganAt: Number.NaN }, 'beganAt'],
  ['of no route', { routeId: 'unknown' }, 'no such route'],
])('a bin %s is refused, and the others are kept', async (_, bad, reason) => {
  const [bin, good] = [await binOfNewRoute(), await binOfNewRoute()]
  expect(await reportBins(sql, 'edge-1', [{ ...bin, ...bad }, good])).toMatchObject([
    { reason: expect.stringContaining(reason) },
  ])
  expect(await keptOf(bin)).toEqual([])
  expect(await keptOf(good)).toHaveLength(1)
})

test('a bin of an edge nobody knows is refused, and counted at the rollout of its route', async () => {
  const bin = await binOfNewRoute()
  const [app] = await sql`select app_id from routes where id = ${bin.routeId}`
  const { id } = await rolloutOf(sql, await bring(sql, app?.appId))
  expect(await reportBins(sql, 'stranger', [bin])).toMatchObject([{ reason: 'the edge is not known' }])
  expect(await sql`select refused_reports from rollouts where id = ${id}`).toEqual([{ refusedReports: 1 }])
})

test('bins are forgotten after half an hour', async () => {
  const bin = await binOfNewRoute()
  await reportBins(sql, 'edge-1', [bin, { ...bin, turn: 0 }])
  await sql`update route_bins set at = now() - interval '36 minutes' where boot_id = ${bin.bootId} and turn = 0`
  await pruneBins(sql)
  expect(await keptOf(bin)).toHaveLength(1)
})
