import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabase } from '../test/support/database.ts'
import { type TestBundle, TestEdge } from '../test/support/edge.ts'
import { fetchApp } from './edge.ts'
import { byTurns, load, measureRate } from './load.ts'
import type { Row } from './measure.ts'

const edges = availableParallelism()
const registered = 1_000
const awake = 50
const atATime = 8
// Every host is to have compiled what it runs.
const warmUpSeconds = 3

const awakeApp: TestBundle = { kind: 'fetch', server: { 'index.js': fetchApp['index.js'] } }
const quietApp: TestBundle = { kind: 'static', files: { 'index.html': 'quiet' } }

/** What a request costs the edge processes beside 999 other apps, of which 49 run, and beside none. */
export async function measureRouting(): Promise<Row[]> {
  await using database = await createDatabase()
  await using alone = await TestEdge.start(database.url, { edges })
  await alone.deploy('app-0', awakeApp)

  await using crowdDatabase = await createDatabase()
  await using crowd = await TestEdge.start(crowdDatabase.url, { edges })
  const names = Array.from({ length: registered }, (_, index) => `app-${index}`)
  await deployAll(crowd, names.slice(0, awake), awakeApp)
  await deployAll(crowd, names.slice(awake), quietApp)

  const directory = await mkdtemp(join(tmpdir(), 'atl-routing-'))
  const hosts = names.slice(0, awake).map((name) => crowd.hostOf(name))
  const everywhere = join(directory, 'everywhere.lua')
  await writeFile(everywhere, rotating(hosts))
  const one = join(directory, 'one.lua')
  await writeFile(one, rotating(hosts.slice(0, 1)))

  const sides = [
    { edge: alone, script: one },
    { edge: crowd, script: one },
    { edge: crowd, script: everywhere },
  ]
  for (const { edge, script } of sides) await load(edge, { script, seconds: warmUpSeconds })
  const [few = [], many = [], spread = []] = await byTurns(sides, async ({ edge, script }) => {
    const side = { port: edge.port, pids: () => edge.edgePids }
    return (await measureRate(side, { script })).cpuMicros
  })
  await rm(directory, { recursive: true })
  const rival = { what: '1 app', values: few }
  const what = `edge processor time of a request, ${registered} apps registered, ${awake} awake`
  return [
    { what, values: many, unit: 'µs', target: '≤ 1.1 × / =', rival },
    { what: '  … spread over all that are awake', values: spread, unit: 'µs', rival },
  ]
}

async function deployAll(edge: TestEdge, names: string[], bundle: TestBundle): Promise<void> {
  const waiting = names.values()
  const deployers = Array.from({ length: atATime }, async () => {
    for (const name of waiting) await edge.deploy(name, bundle)
  })
  await Promise.all(deployers)
}

// As wrk takes it: the same work for the client, however many hosts there are.
function rotating(hosts: string[]): string {
  return `local hosts = { ${hosts.map((host) => `'${host}'`).join(', ')} }
local requests, next = {}, 0
function init(args)
  for i, host in ipairs(hosts) do requests[i] = wrk.format('GET', '/', { Host = host }) end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
`
}
