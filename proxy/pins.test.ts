import { afterAll, beforeAll, expect, test } from 'vitest'
import { createToken, deleteToken } from '../registry/tokens.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { TestRollout } from '../test/support/edge-rollout.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const soon = { timeout: 30_000 }

// Says its name and what it was told of the edge; for everybody at /shared.
const app = (name: string) => ({
  kind: 'server' as const,
  files: { 'a.txt': `file of ${name}` },
  server: {
    'index.js': `import { createServer } from 'node:http'
createServer((request, response) => {
  if (request.url === '/shared') response.setHeader('cache-control', 'public, s-maxage=600')
  const told = Object.keys(request.headers).filter((header) => header.startsWith('x-atelier-'))
  response.end('${name} ' + told)
}).listen(process.env.PORT)`,
  },
})

const pinned = (version: string, token: string) => ({
  headers: { 'x-atelier-version': version, 'x-atelier-token': token, 'x-atelier-else': 'x' },
})

test('a tester sees the version named, live or not, of which the app is told nothing', async () => {
  const { secret } = await createToken(edge.sql, { name: 'tester', scope: 'read' })
  const first = await edge.deploy('tested', app('first'))
  const second = await edge.deploy('tested', app('second'))
  for (const [version, body] of [
    [first.version, 'first '],
    [`v${first.number}`, 'first '],
    [second.version, 'second '],
  ] as const)
    expect(await edge.ask('tested', '/', pinned(version, secret))).toMatchObject({ status: 200, body })
  expect((await edge.ask('tested', '/', pinned(first.version, secret))).headers['x-atelier-deployment']).toBe(
    first.version,
  )
  expect((await edge.ask('tested', '/a.txt', pinned(first.version, secret))).body).toBe('file of first')
  expect((await edge.ask('tested', '/')).body).toBe('second ')
})

test('who has no token that may see the app gets what everybody gets, or is refused', async () => {
  const { version } = await edge.deploy('guarded', app('first'))
  await edge.deploy('guarded', app('second'))
  await edge.deploy('foreign', app('foreign'))
  const foreign = await createToken(edge.sql, { name: 'foreign', scope: 'read', appId: 'foreign' })
  const own = await createToken(edge.sql, { name: 'own', scope: 'read', appId: 'guarded' })
  const statusOf = async (asked: string, token: string) => (await edge.ask('guarded', '/', pinned(asked, token))).status
  expect(await edge.ask('guarded', '/', { headers: { 'x-atelier-version': version } })).toMatchObject({
    body: 'second ',
  })
  expect(await edge.ask('guarded', '/', { headers: { 'x-atelier-token': own.secret } })).toMatchObject({
    body: 'second ',
  })
  expect(await statusOf(version, own.secret)).toBe(200)
  for (const bad of ['', 'x', 'atl_nobody', `atl_${'A'.repeat(43)}`]) expect(await statusOf(version, bad)).toBe(401)
  expect(await statusOf(version, foreign.secret)).toBe(403)
  expect(await statusOf('9.9.9', own.secret)).toBe(404)
  expect(await statusOf('<script>', own.secret)).toBe(400)
  // The deployment's id is a name for the platform's own probes alone.
  const [{ id } = { id: '' }] = await edge.sql<{ id: string }[]>`
    select id
    from deployments
    where app_id = 'guarded'
    limit 1
  `
  expect(await statusOf(id, own.secret)).toBe(400)
  await deleteToken(edge.sql, own.token.id)
  await expect.poll(() => statusOf(version, own.secret), soon).toBe(401)
})

test('a pinned answer is kept for nobody, and nobody’s is given to a tester', async () => {
  const { secret } = await createToken(edge.sql, { name: 'tester', scope: 'read' })
  const { version } = await edge.deploy('uncached', app('only'))
  const visitor = () => edge.ask('uncached', '/shared')
  expect((await visitor()).headers['x-atelier-cache']).toBe('miss')
  expect((await visitor()).headers['x-atelier-cache']).toBe('hit')
  const tester = await edge.ask('uncached', '/shared', pinned(version, secret))
  expect(tester.headers).toMatchObject({ 'x-atelier-cache': 'bypass', 'cdn-cache-control': 'no-store' })
  expect(tester.headers['cache-control']).toContain('no-store')
  const file = await edge.ask('uncached', '/a.txt', pinned(version, secret))
  expect(file.headers['cache-control']).toMatch(/^private/)
})

test('testers are counted in no rollout', async () => {
  const { secret } = await createToken(edge.sql, { name: 'tester', scope: 'read' })
  const old = await edge.deploy('counted', app('old'))
  const rollout = await TestRollout.begin(edge, 'counted', app('new'), { percent: 50 })
  for (const { version } of [old, rollout])
    for (let asked = 0; asked < 3; asked++)
      expect((await edge.ask('counted', '/', pinned(version, secret))).headers['set-cookie']).toBeUndefined()
  for (let asked = 0; asked < 4; asked++) await edge.ask('counted', '/')
  const requests = async () => {
    const { candidate, baseline } = await rollout.counted()
    return candidate.requests + baseline.requests
  }
  await expect.poll(requests, soon).toBe(4)
})

test('when probes are asked for, each proxy asks the new version ten times and says what came of it', async () => {
  await edge.deploy('probed', app('old'))
  const good = await TestRollout.begin(edge, 'probed', app('new'), { percent: 0 })
  expect(await probesOf(good)).toMatchObject([{ passed: 10, failed: 0, reason: null }])
  const requests = await good.counted()
  expect(requests.candidate.requests).toBe(0)

  const failing = { ...app('bad'), server: { 'index.js': failAfterStart } }
  await edge.deploy('probed-bad', app('old'))
  const bad = await TestRollout.begin(edge, 'probed-bad', failing, { percent: 0 })
  expect(await probesOf(bad)).toMatchObject([{ passed: 0, failed: 10, reason: 'GET / answered 500' }])
})

// Well at its health check, and never again.
const failAfterStart = `import { createServer } from 'node:http'
let asked = 0
createServer((request, response) => response.writeHead(asked++ === 0 ? 200 : 500).end()).listen(process.env.PORT)`

async function probesOf(rollout: TestRollout) {
  await edge.sql`
    update rollouts
    set probe_turn = 1
    where id = ${rollout.id}
  `
  const probes = () => edge.sql<{ passed: number; failed: number; reason: string | null }[]>`
    select passed, failed, reason
    from rollout_probes
    where rollout_id = ${rollout.id}
      and turn = 1
  `
  await expect.poll(probes, soon).toHaveLength(1)
  return probes()
}
