import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { awaitRouteSeen } from '../registry/edges.ts'
import { LatencyHistogram } from '../registry/latency-histogram.ts'
import { goLive } from '../registry/release.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { type TestBundle, TestEdge } from '../test/support/edge.ts'
import { type Counted, TestRollout } from '../test/support/edge-rollout.ts'

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

const soon = { timeout: 30_000 }

// Answers as the path says: a page, JSON, a status, nothing at all, half an answer, an answer for everybody.
const server = (name: string, more = '') => ({
  kind: 'server' as const,
  server: {
    'index.js': `import { createServer } from 'node:http'
createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://app')
  ${more}
  if (pathname === '/page') return response.writeHead(200, { 'content-type': 'text/html' }).end('<p>${name}</p>')
  if (pathname === '/shared') return response.writeHead(200, { 'cache-control': 's-maxage=600', 'content-type': 'text/html' }).end('${name}')
  if (pathname === '/own') return response.writeHead(200, { 'cache-control': 'private, max-age=60', 'content-type': 'text/html' }).end('${name}')
  if (pathname === '/asked') return response.writeHead(200, { 'cache-control': 'public, max-age=0', 'content-type': 'text/html' }).end('${name}')
  if (pathname === '/silent') return
  if (pathname === '/half') { response.writeHead(200, { 'content-length': 100 }); response.write('half'); return setTimeout(() => response.destroy(), 20) }
  const status = Number(pathname.slice(1)) || 200
  response.writeHead(status, { 'content-type': 'application/json' }).end('"${name}"')
}).on('upgrade', ({ url }, socket) => {
  if (url === '/hung') return
  if (url !== '/open') return socket.destroy()
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n')
}).listen(process.env.PORT)`,
  },
})

async function appWith(name: string, old: TestBundle = server('old')): Promise<string> {
  await edge.deploy(name, old)
  return name
}

const total = ({ candidate, baseline }: Counted) => candidate.requests + baseline.requests

test('every request counts once, for the arm that answered it, and the weight holds over several processes', async () => {
  const app = await appWith('counted')
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 50 })
  const seen = { old: 0, new: 0 }
  for (let asked = 0; asked < 200; asked++) seen[JSON.parse((await edge.ask(app, '/')).body) as 'old' | 'new']++
  expect(Math.min(seen.old, seen.new)).toBeGreaterThan(50)
  await expect.poll(async () => total(await rollout.counted()), soon).toBe(200)
  const { candidate, baseline } = await rollout.counted()
  expect([candidate.requests, candidate.tosses]).toEqual([seen.new, seen.new])
  expect([baseline.requests, baseline.tosses]).toEqual([seen.old, seen.old])
  expect(candidate.errorRequests + baseline.errorRequests).toBe(0)
})

test('a visitor keeps an arm by the cookie, which comes with pages alone and not with what is for everybody', async () => {
  const app = await appWith('visited')
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 50 })
  expect((await edge.ask(app, '/')).headers['set-cookie']).toBeUndefined()
  for (let again = 0; again < 2; again++) expect((await edge.ask(app, '/shared')).headers['set-cookie']).toBeUndefined()
  for (const path of ['/own', '/asked']) {
    const { headers } = await edge.ask(app, path)
    expect(headers['set-cookie']?.[0]).toMatch(/^atelier_visitor=/)
    expect(headers['cache-control']).toContain('private')
  }
  const arms = new Set<string>()
  for (let visitor = 0; visitor < 20; visitor++) {
    const first = await edge.ask(app, '/page')
    const cookie = first.headers['set-cookie']?.[0]?.split(';')[0] ?? ''
    expect(cookie).toMatch(/^atelier_visitor=/)
    const pages = [first]
    for (let tab = 0; tab < 3; tab++) pages.push(await edge.ask(app, '/page', { headers: { cookie } }))
    expect(pages.slice(1).every(({ headers }) => headers['set-cookie'] === undefined)).toBe(true)
    expect(new Set(pages.map(({ body }) => body)).size).toBe(1)
    arms.add(first.body)
  }
  expect(arms.size).toBe(2)
  await rollout.step({ percent: 100 })
  expect((await edge.ask(app, '/page')).headers['set-cookie']).toBeUndefined()
  // Three strangers without a page, two with one, twenty visitors with four.
  await expect.poll(async () => total(await rollout.counted()), soon).toBe(86)
  const { candidate, baseline } = await rollout.counted()
  expect(candidate.tosses + baseline.tosses).toBe(26)
})

test('a page of files brings the cookie, and is then for one visitor alone, unless the site lets caches keep it', async () => {
  const pages = (name: string) => ({
    kind: 'static' as const,
    files: { 'index.html': `<p>${name}</p>`, 'public.html': name, 'private.html': name, 'a.txt': name },
    header_rules: ['public', 'private'].map((who) => ({
      path: `/${who}`,
      set: [['cache-control', `${who}, max-age=600`] as [string, string]],
      unset: [],
    })),
  })
  const app = await appWith('pages', pages('old'))
  await TestRollout.begin(edge, app, pages('new'), { percent: 50 })
  const page = await edge.ask(app, '/')
  expect(page.headers['set-cookie']?.[0]).toMatch(/^atelier_visitor=/)
  expect(page.headers['cache-control']).toMatch(/^private/)
  expect((await edge.ask(app, '/private')).headers['set-cookie']?.[0]).toMatch(/^atelier_visitor=/)
  const kept = await edge.ask(app, '/public')
  expect(kept.headers).toMatchObject({ 'cache-control': 'public, max-age=600' })
  for (const { headers } of [kept, await edge.ask(app, '/a.txt')]) expect(headers['set-cookie']).toBeUndefined()
})

test('5xx, refusals and answers that break off are errors; 4xx and clients that leave are none', async () => {
  const app = await appWith('failing', server('old'))
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 99 })
  const ask = async (path: string) => (await edge.ask(app, path).catch(() => ({ status: 0 }))).status
  for (const path of ['/500', '/503', '/404', '/200']) expect(await ask(path)).toBe(Number(path.slice(1)))
  expect(await ask('/half')).toBe(0)
  await leave(app, '/silent')
  // What came of a request may be told after the request.
  const counted = async () => {
    const { candidate, baseline } = await rollout.counted()
    const both = (of: (arm: typeof candidate) => number) => of(candidate) + of(baseline)
    return {
      total: both(({ requests }) => requests),
      errors: both(({ errorRequests }) => errorRequests),
      units: both(({ errorUnits }) => errorUnits),
      refused: both(({ refusedRequests }) => refusedRequests),
    }
  }
  await expect.poll(counted, soon).toEqual({ total: 6, errors: 3, units: 3, refused: 1 })
  const failing = async () => {
    const [told] = await edge.sql<{ paths: { path: string; status: number }[] | null }[]>`
      select jsonb_agg(told) as paths
      from rollout_reports, jsonb_array_elements(failing_paths::jsonb) told
      where rollout_id = ${rollout.id}
    `
    return new Set(told?.paths?.map(({ path, status }) => `${path} ${status}`))
  }
  await expect.poll(failing, soon).toEqual(new Set(['/500 500', '/503 503', '/half 0']))
})

test('of a WebSocket the handshake counts and is timed, and one that hangs is slow though its client leaves', async () => {
  const app = await appWith('sockets')
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 50, slowMs: 5_000 })
  for (const [path, answer] of [
    ['/open', 'HTTP/1.1 101'],
    ['/broken', 'HTTP/1.1 502'],
  ] as const) {
    const socket = await hold(app, path, 'Connection: Upgrade\r\nUpgrade: websocket\r\n')
    const [head] = await once(socket, 'data')
    expect(String(head)).toContain(answer)
  }
  const asked = async () => {
    const { candidate, baseline } = await rollout.counted()
    return [total({ candidate, baseline }), candidate.errorRequests + baseline.errorRequests]
  }
  await expect.poll(asked, soon).toEqual([2, 1])
  const { candidate, baseline } = await rollout.counted()
  expect(candidate.timedRequests + baseline.timedRequests).toBe(1)
  expect(candidate.tooSlowRequests + baseline.tooSlowRequests).toBe(0)

  await rollout.step({ percent: 50, slowMs: 100 })
  const hanging = await hold(app, '/hung', 'Connection: Upgrade\r\nUpgrade: websocket\r\n')
  const tooSlow = async () => {
    const counted = await rollout.counted()
    return counted.candidate.tooSlowRequests + counted.baseline.tooSlowRequests
  }
  await expect.poll(tooSlow, soon).toBe(1)
  hanging.destroy()
  const handshakes = async () => total(await rollout.counted())
  await expect.poll(handshakes, soon).toBe(3)
  expect(await tooSlow()).toBe(1)
})

test('a candidate that hangs is told as slow while nobody gets an answer, and though every client leaves', async () => {
  const app = await appWith('hanging')
  const rollout = await TestRollout.begin(edge, app, server('new', "if (pathname === '/api') return"), {
    ...{ percent: 50, slowMs: 300, tooSlowMs: 400 },
  })
  const hanging = await Promise.all(Array.from({ length: 20 }, () => hold(app, '/api')))
  const tooSlow = async () => {
    const { candidate, baseline } = await rollout.counted()
    return candidate.tooSlowRequests + baseline.requests
  }
  await expect.poll(tooSlow, soon).toBe(20)
  expect((await rollout.counted()).candidate.errorRequests).toBe(0)
  for (const socket of hanging) socket.destroy()
  const { candidate } = await rollout.counted()
  expect(candidate.requests).toBeGreaterThan(0)
  const all = { requests: candidate.requests, timedRequests: candidate.requests, tooSlowRequests: candidate.requests }
  await expect.poll(async () => (await rollout.counted()).candidate, soon).toMatchObject(all)
  // Units are told apart.
  const units = async () => {
    const { slowUnits, badLatency } = (await rollout.counted()).candidate
    return slowUnits + badLatency
  }
  await expect.poll(units, soon).toBe(candidate.requests)
})

test('what comes from the cache counts as a request of its arm, and not as a fast one', async () => {
  const app = await appWith('shared')
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 50, slowMs: 5_000 })
  for (let asked = 0; asked < 60; asked++) await edge.ask(app, '/shared')
  await expect.poll(async () => total(await rollout.counted()), soon).toBe(60)
  const { candidate, baseline } = await rollout.counted()
  expect(Math.min(candidate.requests, baseline.requests)).toBeGreaterThan(0)
  expect(candidate.timedRequests + baseline.timedRequests).toBe(0)
})

test('a candidate that cannot be reached serves five visitors its error, and counts all the others that were its own', async () => {
  const app = await appWith('fused')
  const rollout = await TestRollout.begin(
    edge,
    app,
    server('new', "if (pathname === '/api') return response.writeHead(503).end()"),
    {
      percent: 99,
    },
  )
  const statuses: number[] = []
  for (let asked = 0; asked < 100; asked++) statuses.push((await edge.ask(app, '/api')).status)
  const failed = statuses.filter((status) => status === 503).length
  // Of each edge process.
  expect(failed).toBeGreaterThanOrEqual(5)
  expect(failed).toBeLessThanOrEqual(10)
  await expect.poll(async () => total(await rollout.counted()), soon).toBe(100)
  const candidate = async () => (await rollout.counted()).candidate
  expect((await candidate()).requests).toBeGreaterThan(80)
  const unblamed = async () => (await candidate()).requests - (await candidate()).errorRequests
  await expect.poll(unblamed, soon).toBe(0)
})

test('a candidate that is dead is fused though every other request is for a file or comes from the cache', async () => {
  const app = await appWith('half-dead')
  const next = server('new', "if (pathname === '/api') return response.writeHead(503).end()")
  await TestRollout.begin(edge, app, { ...next, files: { 'a.txt': 'a file' } }, { percent: 99 })
  // From either edge process, whose caches are their own.
  for (let asked = 0; asked < 20; asked++) expect((await edge.ask(app, '/shared')).status).toBe(200)
  const statuses: number[] = []
  for (let asked = 0; asked < 60; asked++) {
    for (const path of ['/a.txt', '/shared']) await edge.ask(app, path)
    statuses.push((await edge.ask(app, '/api')).status)
  }
  const failed = statuses.filter((status) => status === 503).length
  expect(failed).toBeGreaterThanOrEqual(5)
  expect(failed).toBeLessThanOrEqual(10)
})

test('an error of the candidate is told at once, not with the next report', async () => {
  const app = await appWith('urgent')
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 99 })
  const sequence = async () => {
    const [told] = await edge.sql<{ seq: number }[]>`
      select coalesce(sum(seq), 0)::int as seq
      from rollout_reports
      where rollout_id = ${rollout.id}
    `
    return told?.seq ?? 0
  }
  await expect.poll(sequence, soon).toBeGreaterThanOrEqual(2)
  const before = await sequence()
  for (let asked = 0; asked < 5; asked++) {
    const errors = async () => (await rollout.counted()).candidate.errorRequests
    const had = await errors()
    // One in a hundred goes to the old one.
    const ask = async () => (await edge.ask(app, '/500')).headers['x-atelier-deployment']
    await expect.poll(ask, soon).toBe(rollout.version)
    await expect.poll(errors, { ...soon, interval: 5 }).toBeGreaterThan(had)
  }
  expect(await sequence()).toBeGreaterThan(before)
})

test('what was counted before an edge process died, and before the proxy was started again, still counts', async () => {
  // Of its own: where all the apps above start again at once, a busy machine keeps visitors waiting for longer than they do.
  await using own = await createDatabase()
  await using edge = await TestEdge.start(own.url, { edges: 2 })
  await edge.deploy('restarted', server('old'))
  const app = 'restarted'
  const rollout = await TestRollout.begin(edge, app, server('new'), { percent: 50 })
  const ask = async () => {
    for (let asked = 0; asked < 20; asked++) expect((await edge.ask(app, '/')).status).toBe(200)
  }
  await ask()
  await expect.poll(async () => total(await rollout.counted()), soon).toBe(20)
  const [victim = 0] = edge.edgePids
  process.kill(victim, 'SIGKILL')
  await expect.poll(() => edge.edgePids.length === 2 && !edge.edgePids.includes(victim), soon).toBe(true)
  await expect.poll(async () => (await edge.ask(app, '/404').catch(() => ({ status: 0 }))).status, soon).toBe(404)
  const base = async () => {
    const { candidate, baseline } = await rollout.counted()
    return total({ candidate, baseline }) - candidate.refusedRequests - baseline.refusedRequests
  }
  await ask()
  await expect.poll(base, soon).toBe(40)
  await ask()
  // What was counted last is told on the way out.
  await edge.shut()
  expect(await base()).toBe(60)
  await edge.open()
  await ask()
  await expect.poll(base, soon).toBe(80)
})

test('what a production deployment answers is kept in bins of ten seconds, without a rollout', async () => {
  const app = await appWith('binned')
  // Nobody asks it before it is counted.
  const { id } = await edge.prepare(app, { ...server('new'), files: { 'a.html': '<p>a page</p>' } })
  await goLive(edge.sql, id, { config: edge.config, by: 'test' })
  expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 20_000 })).toBe(true)
  const preview = await edge.deploy(app, server('preview'), 'feature')
  expect((await edge.ask(preview.label, '/200')).status).toBe(200)
  for (const path of ['/a.html', '/200', '/500', '/404', '/shared', '/shared']) await edge.ask(app, path)
  const bins = (deploymentId: string) => edge.sql<{ at: Date; requests: number; errors: number; latency: string }[]>`
    select at, requests::int as requests, errors::int as errors, latency
    from route_bins
    where deployment_id = ${deploymentId}
  `
  const sum = async (what: 'requests' | 'errors') => (await bins(id)).reduce((all, row) => all + row[what], 0)
  await expect.poll(() => sum('requests'), soon).toBe(6)
  expect(await sum('errors')).toBe(1)
  const rows = await bins(id)
  expect(rows.reduce((all, { latency }) => all + LatencyHistogram.parse(latency).total, 0)).toBe(3)
  expect(rows.every(({ at }) => at.getTime() % 10_000 === 0)).toBe(true)
  expect(await bins(preview.id)).toEqual([])
})

/** Asks, and holds the connection open. */
async function hold(host: string, path: string, headers = '') {
  const socket = connect({ port: edge.port, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${edge.hostOf(host)}\r\n${headers}\r\n`)
  return socket
}

/** Asks, and leaves when the edge has the request. */
async function leave(host: string, path: string): Promise<void> {
  const socket = await hold(host, path)
  await new Promise((resolve) => setTimeout(resolve, 200))
  socket.destroy()
}
