import { readdir } from 'node:fs/promises'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findDeployment } from '../registry/deployments.ts'
import { awaitRouteSeen } from '../registry/edges.ts'
import { goLive } from '../registry/release.ts'
import { rollBack } from '../registry/rollback.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { type TestBundle, TestEdge } from '../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2 })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const page = (text: string): TestBundle => ({ kind: 'static', files: { 'index.html': text } })

test('whoever waited for the edges finds the new version at the first request, twenty times', async () => {
  await edge.deploy('prompt', page('version 0'))
  for (let turn = 1; turn <= 20; turn++) {
    const { id } = await edge.prepare('prompt', page(`version ${turn}`))
    await goLive(edge.sql, id, { config: edge.config, by: 'test' })
    expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 20_000 })).toBe(true)
    expect((await edge.ask('prompt', '/')).body).toBe(`version ${turn}`)
  }
})

test('an edge that has not read a change is waited for, and not for ever; one that says nothing is not', async () => {
  const { id } = await edge.deploy('waited-for', page('x'))
  const { sql } = edge
  await sql`insert into edges (id) values ('silent')`
  expect(await awaitRouteSeen(sql, id, { timeoutMs: 20_000 })).toBe(true)
  const [before] = await sql<{ snapshot: string }[]>`select pg_current_snapshot()::text as snapshot`
  await sql`update routes set generation = generation + 1 where app_id = 'waited-for'`
  await sql`update edges set routes_seen = ${before?.snapshot ?? ''}::pg_snapshot, seen_at = now() where id = 'silent'`
  expect(await awaitRouteSeen(sql, id, { timeoutMs: 50 })).toBe(false)
  await sql`update edges set routes_seen = pg_current_snapshot() where id = 'silent'`
  expect(await awaitRouteSeen(sql, id, { timeoutMs: 20_000 })).toBe(true)
  await sql`delete from edges where id = 'silent'`
})

type Seen = { version: string; body: string }

/** A client that keeps requesting on kept-alive connections; every answer must be a 200 whose body is its version's. */
class Traffic {
  readonly failures: string[] = []
  readonly seen: Seen[] = []
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 })
  readonly #workers: Promise<void>[]
  #isOver = false

  constructor(app: string, { post = false }: { post?: boolean } = {}) {
    this.#workers = Array.from({ length: 8 }, (_, index) => this.#work(app, post && index % 2 === 0))
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#workers)
    this.#agent.destroy()
  }

  async #work(app: string, isPost: boolean): Promise<void> {
    while (!this.#isOver) {
      try {
        const response = await this.#ask(app, isPost)
        const body = await text(response)
        const version = String(response.headers['x-atelier-deployment'])
        if (response.statusCode === 200) this.seen.push({ version, body })
        else this.failures.push(`${response.statusCode} ${body}`)
      } catch (thrown) {
        this.failures.push(String(thrown))
      }
    }
  }

  #ask(app: string, isPost: boolean): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = httpRequest(
        {
          ...{ host: '127.0.0.1', port: edge.port, agent: this.#agent, headers: { host: edge.hostOf(app) } },
          ...{ method: isPost ? 'POST' : 'GET', path: '/' },
        },
        resolve,
      )
      asked.on('error', reject).end(isPost ? 'a body' : undefined)
    })
  }
}

const bundles: Record<string, (text: string) => TestBundle> = {
  static: (body) => ({ kind: 'static', files: { 'index.html': body } }),
  fetch: (body) => ({
    kind: 'fetch',
    server: {
      'index.js': `export default { fetch: async (request) => { await request.text(); return new Response('${body}') } }`,
    },
  }),
  server: (body) => ({
    kind: 'server',
    server: {
      'index.mjs': `import { createServer } from 'node:http'
createServer((request, response) => {
  request.resume().on('end', () => setTimeout(() => response.end('${body}'), Math.random() * 5))
}).listen(process.env.PORT)`,
    },
  }),
}

test.each(['static', 'fetch', 'server'])(
  'flips of a %s app under load fail no request and mix no versions',
  async (kind) => {
    const app = `flip-${kind}`
    const bundle = bundles[kind] ?? (() => ({ kind: 'static' }))
    const bodyOf = new Map<string, string>()
    const flip = async (body: string) => bodyOf.set((await edge.deploy(app, bundle(body))).version, body)

    await flip('body 0')
    const traffic = new Traffic(app, { post: kind !== 'static' })
    for (let round = 1; round <= 5; round++) {
      await flip(`body ${round}`)
      const seen = () => traffic.seen.filter(({ body }) => body === `body ${round}`).length
      await expect.poll(seen, { timeout: 30_000 }).toBeGreaterThan(5)
    }
    await traffic.stop()

    expect(traffic.failures).toEqual([])
    for (const { version, body } of traffic.seen) expect(body).toBe(bodyOf.get(version))
    expect(new Set(traffic.seen.map(({ body }) => body))).toEqual(
      new Set([0, 1, 2, 3, 4, 5].map((round) => `body ${round}`)),
    )
  },
)

test('a rollback to a version whose host is gone makes requests wait, and fails none', async () => {
  const app = 'back'
  const bundle = bundles.server ?? (() => ({ kind: 'static' }))
  const first = await edge.deploy(app, bundle('good'))
  await edge.deploy(app, bundle('bad'))
  const sockets = () => readdir(join(edge.config.runDir, 'i'))
  await expect.poll(async () => (await sockets()).some((name) => name.startsWith(first.id))).toBe(false)
  const traffic = new Traffic(app)
  await expect.poll(() => traffic.seen.length).toBeGreaterThan(20)

  const target = await findDeployment(edge.sql, first.id)
  if (!target) throw new Error('the first deployment is gone')
  await rollBack(edge.sql, target, { by: 'test' })
  await edge.untilServed(app, first.version)
  await expect.poll(() => traffic.seen.at(-1)).toEqual({ version: first.version, body: 'good' })
  await traffic.stop()
  expect(traffic.failures).toEqual([])
})

test('a rollback to a version whose old process is still ending fails no request, then or later', async () => {
  const app = 'back-at-once'
  const slowToEnd = (body: string): TestBundle => ({
    kind: 'server',
    server: {
      'index.js': `process.on('SIGTERM', () => undefined)
require('node:http').createServer((_, response) => setTimeout(() => response.end('${body}'), 50)).listen(3000)`,
    },
  })
  const first = await edge.deploy(app, slowToEnd('good'))
  await edge.deploy(app, slowToEnd('bad'))
  const sockets = async () => (await readdir(join(edge.config.runDir, 'i'))).filter((name) => name.startsWith(first.id))
  const target = await findDeployment(edge.sql, first.id)
  if (!target) throw new Error('the first deployment is gone')
  // It has been told to end, and takes its five seconds.
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(await sockets()).not.toEqual([])
  await rollBack(edge.sql, target, { by: 'test' })
  await edge.untilServed(app, first.version)
  const traffic = new Traffic(app)
  await new Promise((resolve) => setTimeout(resolve, 7_000))
  await traffic.stop()
  expect(traffic.seen.length).toBeGreaterThan(20)
  expect(traffic.failures).toEqual([])
})

test('a version that does not come up never gets a request, and the reason reaches who asked', async () => {
  const fetchApp = bundles.fetch ?? (() => ({ kind: 'static' }))
  await edge.deploy('picky', fetchApp('works'))
  const crashing: TestBundle = { kind: 'fetch', server: { 'index.js': `throw new Error('no DATABASE_URL')` } }
  await expect(edge.deploy('picky', crashing)).rejects.toThrow('no DATABASE_URL')
  const sick: TestBundle = {
    kind: 'fetch',
    server: { 'index.js': `export default { fetch: () => new Response('', { status: 500 }) }` },
  }
  await expect(edge.deploy('picky', sick)).rejects.toThrow('GET / answered 500; healthy is anything below 500')
  const strict: TestBundle = { ...fetchApp('x'), health: { path: '/healthz', timeout_sec: 2, strict: true } }
  strict.server = {
    'index.js': `export default { fetch: (request) => new Response('', { status: new URL(request.url).pathname === '/healthz' ? 404 : 200 }) }`,
  }
  await expect(edge.deploy('picky', strict)).rejects.toThrow('GET /healthz answered 404; healthy is 2xx or 3xx')
  expect(await edge.ask('picky', '/')).toMatchObject({ status: 200, body: 'works' })
})
