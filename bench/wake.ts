import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { processesOf } from '../test/support/processes.ts'
import { fetchApp } from './edge.ts'
import { type Row, repeat, seconds } from './measure.ts'

const app = 'sleepy'
const wakes = 40
// In place of a quarter of an hour.
const limits = { sleepAfterMs: 200, sleepLookMs: 50, useReportMs: 50 }

/** The first request to a fetch app that sleeps, on a new connection, to the end of its answer; and what such an app holds. */
export async function measureWakes(): Promise<Row[]> {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: availableParallelism(), limits })
  await edge.deploy(app, { kind: 'fetch', server: { 'index.js': fetchApp['index.js'] } })
  const processes = () => processesOf(join(edge.config.home, 'edge/apps', app)).length
  if (processes() === 0) throw new Error(`${app} has no process, and none is seen to end`)
  const took = await repeat(wakes, async () => {
    while (processes() > 0) await pause(20)
    return 1000 * (await seconds(() => wake(edge)))
  })
  while (processes() > 0) await pause(20)
  return [
    {
      what: `wake of a sleeping fetch app, p95 of ${wakes}`,
      values: took,
      unit: 'ms',
      percentile: 95,
      target: '≤ 200 / 80 ms',
    },
    { what: 'wake of a sleeping Next app', values: [], unit: 'ms', missing: 'Next apps are not built yet' },
    { what: 'a sleeping app holds', values: [processes()], unit: 'processes', target: '0' },
  ]
}

async function wake(edge: TestEdge): Promise<void> {
  const { status } = await edge.ask(app, '/')
  if (status !== 200) throw new Error(`${app} was woken and answered ${status}`)
}
