import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createDatabase } from '../test/support/database.ts'
import { type TestBundle, TestEdge } from '../test/support/edge.ts'
import { builtNext } from '../test/support/next-app.ts'
import { processesOf } from '../test/support/processes.ts'
import { fetchApp } from './edge.ts'
import { type Row, repeat, seconds } from './measure.ts'

// In place of a quarter of an hour, here and in the bundles.
const limits = { sleepAfterMs: 200, useLookMs: 50, useReportMs: 50 }

type Sleeper = { app: string; bundle: TestBundle; wakes: number }

/** The first request to an app that sleeps, on a new connection, to the end of its answer; and what such an app holds. */
export async function measureWakes(): Promise<Row[]> {
  const next = await builtNext()
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: availableParallelism(), limits })
  const fetches: TestBundle = { kind: 'fetch', server: { 'index.js': fetchApp['index.js'] } }
  const [tookFetch, held] = await measure(edge, { app: 'sleepy', bundle: fetches, wakes: 40 })
  const [tookNext] = await measure(edge, { app: 'sleepy-next', bundle: { ...next, sleep_after_min: 0.005 }, wakes: 20 })
  return [
    { ...row('wake of a sleeping fetch app', tookFetch), target: '≤ 200 / 80 ms' },
    { ...row('wake of a sleeping Next app', tookNext), target: '≤ 1000 / 400 ms' },
    { what: 'a sleeping app holds', values: [held], unit: 'processes', target: '0' },
  ]
}

function row(what: string, values: number[]): Row {
  return { what: `${what}, p95 of ${values.length}`, values, unit: 'ms', percentile: 95 }
}

/** Milliseconds of each wake, and the processes that are left when it sleeps again. */
async function measure(edge: TestEdge, { app, bundle, wakes }: Sleeper): Promise<[number[], number]> {
  await edge.deploy(app, bundle)
  const processes = () => processesOf(join(edge.config.home, 'edge/apps', app)).length
  if (processes() === 0) throw new Error(`${app} has no process, and none is seen to end`)
  const asleep = async () => {
    while (processes() > 0) await pause(20)
  }
  const took = await repeat(wakes, async () => {
    await asleep()
    return 1000 * (await seconds(() => wake(edge, app)))
  })
  await asleep()
  return [took, processes()]
}

async function wake(edge: TestEdge, app: string): Promise<void> {
  const { status } = await edge.ask(app, '/')
  if (status !== 200) throw new Error(`${app} was woken and answered ${status}`)
}
