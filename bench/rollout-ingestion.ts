import { readFileSync } from 'node:fs'
import { renewLease } from '../registry/edges.ts'
import { LatencyHistogram } from '../registry/latency-histogram.ts'
import { openSegment } from '../registry/rollout.ts'
import { type RolloutReport, reportRollout } from '../registry/rollout-reports.ts'
import { readWatched } from '../registry/rollouts/watched.ts'
import type { Sql } from '../registry/sql.ts'
import { TakenReports } from '../registry/taken-reports.ts'
import { createDatabase } from '../test/support/database.ts'
import { bring, counted, liveApp, rolloutOf } from '../test/support/rollout.ts'
import { meterCpu, withDescendants } from './cpu.ts'
import { type Row, repeat } from './measure.ts'

const [edgeCount, rolloutCount, rounds] = [50, 200, 5]

/**
 * What the database does for one report, when 50 edges tell of 200 rollouts every 2 s: 5000 reports a second, of which a tenth of a core may take
 * 20 µs each. Every counter of the segment in force has moved, and its latencies fill sixty buckets; the two segments before it are as they were. What the
 * proxies do themselves is a fiftieth for each. And one look at all of these rollouts, which is taken every second.
 */
export async function measureIngestion(): Promise<Row[]> {
  await using database = await createDatabase({ max: 4 })
  const { sql } = database
  const edges = Array.from({ length: edgeCount }, (_, index) => ({ id: `edge-${index}`, taken: new TakenReports() }))
  for (const { id } of edges) await renewLease(sql, id)
  const ids = await repeat(rolloutCount, () => beginRollout(sql))
  const reports = ids.length * edges.length
  const tell = async (seq: number) => {
    const told = ids.map((id) => reportOf(id, seq))
    for (const { id, taken } of edges) await reportRollout(sql, id, told, taken)
  }

  // Of one connection each: a proxy tells one thing at a time.
  await tell(1)
  const programs = withDescendants(await findServer(sql))
  const perReport = await repeat(rounds, async (index) => {
    const stop = meterCpu([...programs, ...withDescendants(await findServer(sql))])
    await tell(index + 2)
    return (1e6 * stop()) / reports
  })
  const looks = await repeat(rounds, async () => {
    const startedAt = performance.now()
    await readWatched(sql)
    return performance.now() - startedAt
  })
  const scale = `${edgeCount} edges × ${rolloutCount} rollouts`
  return [
    {
      what: `reports of ${scale}, database per report`,
      values: perReport,
      unit: 'µs',
      target: '≤ 20 µs (10 % of a core)',
    },
    { what: `a look at ${rolloutCount} rollouts of ${edgeCount} edges`, values: looks, unit: 'ms' },
  ]
}

async function beginRollout(sql: Sql): Promise<string> {
  const { app } = await liveApp(sql)
  const rollout = await rolloutOf(sql, await bring(sql, app))
  const segment = { percent: 5, slowMs: 100, tooSlowMs: 150, by: 'bench' }
  for (const [index, opens] of (['stage', 'half', 'stage'] as const).entries())
    await sql.begin((tx) => openSegment(tx, { ...rollout, segment: index - 1 }, { ...segment, opens }))
  return rollout.id
}

const latency = new LatencyHistogram()
for (let bucket = 0; bucket < 60; bucket += 1) latency.add(10 * 1.05 ** bucket)

function reportOf(rolloutId: string, seq: number): RolloutReport {
  const arm = (segment: number, one: 'candidate' | 'baseline', requests: number) => ({
    ...counted(segment, one, { requests, tosses: requests, timedRequests: requests, errorRequests: segment }),
    latency,
  })
  const segments = [0, 1, 2].flatMap((segment) => {
    const requests = segment === 2 ? 100 * seq : 100
    return [arm(segment, 'candidate', requests), arm(segment, 'baseline', 19 * requests)]
  })
  const failingPaths = [{ arm: 'candidate' as const, path: '/api/orders', status: 500, count: seq }]
  return { rolloutId, bootId: 'boot', seq, segments, units: [], failingPaths }
}

// Every process of the server is a child of the one that the connection's own was made by.
async function findServer(sql: Sql): Promise<number> {
  const [own] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`
  const status = readFileSync(`/proc/${own?.pid}/status`, 'utf8')
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1])
}
