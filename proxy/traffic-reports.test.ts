import { afterEach, expect, test, vi } from 'vitest'
import { renewLease } from '../registry/edges.ts'
import { connect } from '../registry/sql.ts'
import { createDatabase } from '../test/support/database.ts'
import { DatabaseLine } from '../test/support/database-line.ts'
import { recordLog } from '../test/support/log.ts'
import { liveApp } from '../test/support/rollout.ts'
import { Bins } from './edge/counting/bins.ts'
import type { SentBin } from './edge-messages.ts'
import { TrafficReports } from './traffic-reports.ts'

afterEach(() => void vi.useRealTimers())

/** A bin of a machine whose clock is so many seconds ahead. */
function binOf({ id, routeId }: { id: string; routeId: string | null }, aheadSec: number): SentBin[] {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + aheadSec * 1000 })
  const told: SentBin[] = []
  const bins = new Bins({ bootId: `boot${aheadSec}`, tell: (some) => told.push(...some) })
  bins.of({ ref: { id }, bin: null }, routeId ?? '').requests = 100
  bins.close()
  vi.useRealTimers()
  return told
}

test.for([-301, 0, 400])('traffic is recent though the clock of its edge is %i s ahead', async (aheadSec) => {
  await using database = await createDatabase()
  const { sql } = database
  await renewLease(sql, 'edge-1')
  const { live } = await liveApp(sql)
  const reports = new TrafficReports({ sql, edgeId: 'edge-1', log: recordLog().log })
  reports.takeBins(binOf(live, aheadSec))
  const agesSec = async () => {
    const rows = await sql<{ ageSec: number }[]>`
      select extract(epoch from clock_timestamp() - at)::float8 as age_sec
      from route_bins
    `
    return rows.map(({ ageSec }) => ageSec)
  }
  await expect.poll(agesSec, { timeout: 20_000 }).toEqual([expect.toSatisfy((sec: number) => sec > 0 && sec < 60)])
})

test('what was counted while the registry was away is as old as it is when that is back, though it was sent long before', async () => {
  await using database = await createDatabase()
  const { sql } = database
  await renewLease(sql, 'edge-1')
  const { live } = await liveApp(sql)
  await using line = await DatabaseLine.open(database.url)
  const far = connect(line.url, { max: 1, name: 'test' })
  await far`select 1`
  const reports = new TrafficReports({ sql: far, edgeId: 'edge-1', log: recordLog().log })
  line.cut()
  reports.takeBins(binOf(live, 0))
  // Nobody waits for four minutes: the one clock that goes by is moved.
  const { now } = performance
  const later = vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 240_000)
  line.mend()
  const kept = async () => {
    // What is told next takes along what was not taken in.
    reports.takeBins([])
    return sql<{ ageSec: number }[]>`
      select extract(epoch from clock_timestamp() - at)::float8 as age_sec
      from route_bins
    `
  }
  await expect.poll(async () => (await kept()).length, { timeout: 20_000 }).toBe(1)
  const [row] = await kept()
  later.mockRestore()
  expect(row?.ageSec).toBeGreaterThan(230)
  expect(row?.ageSec).toBeLessThan(330)
  await far.end({ timeout: 1 })
})
