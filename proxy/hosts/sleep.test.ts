import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../../registry/app-logs.ts'
import { findDeployment } from '../../registry/deployments.ts'
import { readHosts } from '../../registry/edge-hosts.ts'
import { awaitRouteSeen, forgetDeadEdges } from '../../registry/edges.ts'
import { rollBack } from '../../registry/rollback.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { type TestBundle, TestEdge } from '../../test/support/edge.ts'
import { TestRollout } from '../../test/support/edge-rollout.ts'
import { processesOf } from '../../test/support/processes.ts'

let database: TestDatabase
let edge: TestEdge

// Every test would take a quarter of an hour.
const limits = { sleepAfterMs: 400, useLookMs: 50, useReportMs: 50 }

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2, limits })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const fetchApp = (more: Partial<TestBundle> = {}): TestBundle => ({
  kind: 'fetch',
  server: {
    'index.js': `const born = process.hrtime.bigint().toString()
const events = () => new Response(new ReadableStream({ start: (controller) => controller.enqueue('begun') }))
export default { fetch: (request) => new URL(request.url).pathname === '/stream' ? events() : new Response(born) }`,
  },
  ...more,
})
const server = (more: Partial<TestBundle> = {}): TestBundle => ({
  kind: 'server',
  server: {
    'index.mjs': `import { createServer } from 'node:http'
const born = process.hrtime.bigint().toString()
createServer((request, response) => response.end(born)).listen(process.env.PORT)`,
  },
  ...more,
})

const hosts = (app: string) => processesOf(join(edge.config.home, 'edge/apps', app)).length
const asleep = (app: string) => expect.poll(() => hosts(app)).toBe(0)
/** Asks until its process is seen; resolves to what it has answered. On a busy machine it may be asleep again before one has looked. */
async function seenAwake(host: string, processes: () => number): Promise<string[]> {
  const answers: string[] = []
  const look = async () => {
    answers.push((await edge.ask(host, '/')).body)
    return processes()
  }
  await expect.poll(look).toBeGreaterThan(0)
  return answers
}
const told = async ({ id }: { id: string }) => (await readHosts(edge.sql, [{ id }])).get(id)
const platformLog = async (app: string) =>
  (await readAppLog(edge.sql, app)).filter(({ stream }) => stream === 'platform').map(({ text }) => text)

test('an app that nobody uses costs no process, and many first requests wake it once', async () => {
  await edge.deploy('idle', fetchApp())
  const before = await seenAwake('idle', () => hosts('idle'))
  await asleep('idle')

  const answers = await Promise.all(Array.from({ length: 100 }, () => edge.ask('idle', '/')))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  const born = new Set(answers.map(({ body }) => body))
  expect(born.size).toBe(1)
  for (const one of before) expect(born).not.toContain(one)
  await expect
    .poll(() => platformLog('idle'))
    .toEqual(
      expect.arrayContaining([expect.stringMatching(/^went to sleep after \d+ idle minutes$/), 'woken by a request']),
    )
})

test('nobody sleeps whom a rollout compares, or keeps warm, and after a restart they are started', async () => {
  const old = await edge.deploy('compared', fetchApp())
  const rollout = await TestRollout.begin(edge, 'compared', fetchApp(), { percent: 5 })
  const both = async () => [(await told(old))?.state, (await told({ id: rollout.deploymentId }))?.state]
  await expect.poll(both, { timeout: 20_000 }).toEqual(['awake', 'awake'])
  for (const [name, step] of [
    ['beside-five', null],
    ['beside-all', { percent: 100 }],
  ] as const) {
    if (step) await rollout.step(step)
    // Used later than they were, and asleep.
    await edge.deploy(name, fetchApp())
    expect((await edge.ask(name, '/')).status).toBe(200)
    await expect.poll(() => hosts(name), { timeout: 20_000 }).toBe(0)
    expect(await both()).toEqual(['awake', 'awake'])
  }
  await edge.shut()
  expect(hosts('compared')).toBe(0)
  await edge.open()
  await expect.poll(() => hosts('compared'), { timeout: 20_000 }).toBeGreaterThan(0)
  await expect.poll(both, { timeout: 20_000 }).toEqual(['awake', 'awake'])
})

test('the registry learns who is awake and who sleeps, and of static sites nothing', async () => {
  const site = await edge.deploy('files', { kind: 'static', files: { 'index.html': 'a page' } })
  const stays = await edge.deploy('wakeful', fetchApp({ sleep_after_min: false }))
  const naps = await edge.deploy('napping', fetchApp())
  const awake = { state: 'awake', isolates: 1, edges: 1, awakeOn: 1 }
  await expect.poll(() => told(stays)).toMatchObject(awake)
  await expect.poll(() => told(naps)).toMatchObject({ state: 'asleep', isolates: 0, edges: 1, awakeOn: 0 })
  const stream = await edge.socket()
  stream.write(`GET /stream HTTP/1.1\r\nHost: ${edge.hostOf('napping')}\r\n\r\n`)
  await once(stream, 'data')
  await expect.poll(() => told(naps)).toMatchObject(awake)
  expect(await told(site)).toBeUndefined()

  // What the registry has forgotten is told again, and what an earlier run has left there is not believed for long.
  await edge.sql`update edges set seen_at = now() - interval '2 hours'`
  await forgetDeadEdges(edge.sql)
  await expect.poll(() => told(stays)).toMatchObject(awake)
  stream.destroy()
  const { edgeId } = edge
  await edge.shut()
  await expect.poll(() => told(stays)).toBeUndefined()
  await edge.sql`insert into edges (id) values (${edgeId}) on conflict (id) do update set seen_at = now()`
  await edge.sql`
    insert into edge_hosts (edge_id, deployment_id, state, isolates)
    values (${edgeId}, ${site.id}, 'crashed', 0), (${edgeId}, ${stays.id}, 'crashed', 0)
    on conflict (edge_id, deployment_id) do update set state = excluded.state
  `
  expect(await told(site)).toMatchObject({ state: 'crashed' })
  await edge.open()
  await expect.poll(() => told(stays)).toMatchObject(awake)
  expect(await told(site)).toBeUndefined()
})

test('a server app sleeps when its config says so or it is a preview; a fetch app does not when its config says so', async () => {
  await edge.deploy('sleepless', fetchApp({ sleep_after_min: false }))
  await edge.deploy('server', server())
  await edge.deploy('told', server({ sleep_after_min: 0.005 }))
  const { id } = await edge.deploy('server', server(), 'pr/1')
  const preview = () => hosts(`server/${id}`)
  await seenAwake('server-pr-1', preview)
  await asleep('told')
  await expect.poll(preview).toBe(0)
  expect(hosts('server')).toBeGreaterThan(0)
  expect(hosts('sleepless')).toBeGreaterThan(0)
  expect((await edge.ask('told', '/')).status).toBe(200)
  expect((await edge.ask('server-pr-1', '/')).status).toBe(200)
})

test('what is open is use: an app with a stream does not sleep, and does when the stream has ended', async () => {
  await edge.deploy('streams', fetchApp())
  await edge.deploy('beside', fetchApp())
  const stream = await edge.socket()
  stream.write(`GET /stream HTTP/1.1\r\nHost: ${edge.hostOf('streams')}\r\n\r\n`)
  await once(stream, 'data')
  const { body } = await edge.ask('streams', '/')
  await asleep('beside')
  await edge.ask('beside', '/')
  await asleep('beside')
  expect((await edge.ask('streams', '/')).body).toBe(body)
  stream.destroy()
  await asleep('streams')
})

test('a rollback to a version, and a flip from one, that is asleep', async () => {
  const first = await edge.deploy('back', fetchApp())
  const { body } = await edge.ask('back', '/')
  await asleep('back')
  await edge.deploy('back', fetchApp())
  await asleep('back')
  const target = await findDeployment(edge.sql, first.id)
  if (!target) throw new Error('the first deployment is gone')
  await rollBack(edge.sql, target, { by: 'test' })
  expect(await awaitRouteSeen(edge.sql, first.id, { timeoutMs: 20_000 })).toBe(true)
  const answer = await edge.ask('back', '/')
  expect(answer).toMatchObject({ status: 200, headers: { 'x-atelier-deployment': first.version } })
  expect(answer.body).not.toBe(body)
})

test('after a restart only what may not sleep is started before somebody asks', async () => {
  await edge.deploy('waits', fetchApp())
  await edge.deploy('stays', server())
  await edge.shut()
  await expect.poll(() => [hosts('waits'), hosts('stays')]).toEqual([0, 0])
  await edge.open()
  await expect.poll(() => hosts('stays')).toBeGreaterThan(0)
  expect((await edge.ask('stays', '/')).status).toBe(200)
  expect(hosts('waits')).toBe(0)
  expect((await edge.ask('waits', '/')).status).toBe(200)
})

test('what the cache fetches for nobody is use: an app is not put to sleep in the middle of it', async () => {
  await using own = await createDatabase()
  await using cached = await TestEdge.start(own.url, { limits: { ...limits, stopGraceMs: 200 } })
  await cached.deploy('renews', {
    kind: 'fetch',
    server: {
      'index.js': `const born = process.hrtime.bigint().toString()
let turn = 0
export default { async fetch() {
  if (++turn > 1) await new Promise((resolve) => setTimeout(resolve, 2_000))
  return new Response(born + ' ' + turn, { headers: { 'cache-control': 's-maxage=1, stale-while-revalidate=600' } })
} }`,
    },
  })
  const ask = async () => {
    const { headers, body } = await cached.ask('renews', '/page')
    return { word: headers['x-atelier-cache'], born: body.split(' ')[0], turn: Number(body.split(' ')[1]) }
  }
  const { born, turn } = await ask()
  await expect.poll(ask).toMatchObject({ word: 'stale', turn })
  await expect.poll(() => processesOf(join(cached.config.home, 'edge/apps/renews')).length).toBe(0)
  const renewed = await ask()
  expect(renewed.born).toBe(born)
  expect(renewed.turn).toBe(turn + 1)
})

test('requests that come as an app falls asleep do not fail', async () => {
  await using own = await createDatabase()
  await using nervous = await TestEdge.start(own.url, {
    edges: 2,
    limits: { sleepAfterMs: 20, useLookMs: 5, useReportMs: 5 },
  })
  await nervous.deploy('naps', fetchApp())
  const born = new Set<string>()
  const ask = async () => {
    for (let round = 0; round < 15; round++) {
      const { status, body } = await nervous.ask('naps', '/')
      expect(status).toBe(200)
      born.add(body)
      await new Promise((resolve) => setTimeout(resolve, 10 + Math.random() * 60))
    }
  }
  await Promise.all([ask(), ask(), ask()])
  expect(born.size).toBeGreaterThan(2)
})
