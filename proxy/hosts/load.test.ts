import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../../registry/app-logs.ts'
import { readHosts } from '../../registry/edge-hosts.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { type TestBundle, TestEdge } from '../../test/support/edge.ts'
import { processesOf } from '../../test/support/processes.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  // This machine may have no core to spare while other tests run.
  const limits = { useLookMs: 100, useReportMs: 50, minFreeCores: 0 }
  edge = await TestEdge.start(database.url, { limits })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const busy = (more: Partial<TestBundle> = {}): TestBundle => ({
  kind: 'fetch',
  server: {
    'index.js': `const born = process.hrtime.bigint().toString()
export default { fetch: (request) => {
  const { pathname } = new URL(request.url)
  if (pathname === '/exit') process.exit(3)
  const until = performance.now() + (pathname === '/work' ? 20 : 0)
  while (performance.now() < until);
  return new Response(born)
} }`,
  },
  sleep_after_min: false,
  ...more,
})

/** Keeps an app at work until it is disposed of; every answer must be a 200, unless `mayFail`. */
function work(app: string, { mayFail = false } = {}) {
  const seen = new Set<string>()
  let isOver = false
  const asking = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      const { status, body } = await edge.ask(app, '/work')
      if (!mayFail) expect(status).toBe(200)
      if (status === 200) seen.add(body)
    }
  })
  return {
    seen,
    async [Symbol.asyncDispose]() {
      isOver = true
      await Promise.all(asking)
    },
  }
}

const isolates = (app: string) =>
  processesOf(join(edge.config.home, 'edge/apps', app)).filter(({ command }) => command.includes('bwrap')).length

test('a fetch app that is busy is served by more isolates, and by one again when it is not; no request fails', async () => {
  const deployment = await edge.deploy('busy', busy({ max_isolates: 2 }))
  const told = async () => (await readHosts(edge.sql, [deployment])).get(deployment.id)?.isolates
  const one = isolates('busy')
  {
    await using load = work('busy')
    await expect.poll(() => load.seen.size).toBeGreaterThanOrEqual(2)
    expect(isolates('busy')).toBeGreaterThan(one)
    await expect.poll(told).toBe(2)
  }
  await expect.poll(() => isolates('busy')).toBe(one)
  await expect.poll(told).toBe(1)
  expect((await edge.ask('busy', '/')).status).toBe(200)
  await expect
    .poll(async () => (await readAppLog(edge.sql, 'busy')).map(({ text }) => text))
    .toEqual(expect.arrayContaining(['much to do: 2 isolates now', 'less to do: 1 isolate now']))
})

test('an isolate that ends takes only its own requests with it', async () => {
  await edge.deploy('ends', busy({ max_isolates: 2 }))
  await using load = work('ends', { mayFail: true })
  await expect.poll(() => load.seen.size).toBeGreaterThanOrEqual(2)
  expect((await edge.ask('ends', '/exit')).status).toBe(502)
  for (let requests = 0; requests < 20; requests++) expect((await edge.ask('ends', '/')).status).toBe(200)
})

test('a server app, and a fetch app that says so, stays in one isolate however busy it is', async () => {
  const server: TestBundle = {
    kind: 'server',
    server: {
      'index.mjs': `import { createServer } from 'node:http'
const born = process.hrtime.bigint().toString()
createServer((request, response) => {
  const until = performance.now() + 20
  while (performance.now() < until);
  response.end(born)
}).listen(process.env.PORT)`,
    },
  }
  await edge.deploy('server', server)
  await edge.deploy('single', busy({ max_isolates: 1 }))
  await edge.deploy('double', busy({ max_isolates: 2 }))
  await using first = work('server')
  await using second = work('single')
  await using third = work('double')
  await expect.poll(() => third.seen.size).toBeGreaterThanOrEqual(2)
  expect([first.seen.size, second.seen.size]).toEqual([1, 1])
})
