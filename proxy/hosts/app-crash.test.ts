import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { isAlive, killAll, processesOf } from '../../test/support/processes.ts'
import { Traffic } from '../../test/support/traffic.ts'
import { defaultLimits } from '../limits.ts'

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

const server = {
  kind: 'server' as const,
  server: {
    'index.js': `import { createServer } from 'node:http'
const born = process.hrtime.bigint().toString()
createServer((request, response) => {
  if (request.url === '/waits') return response.write('begun')
  response.end(request.url === '/born' ? born : 'fine')
}).listen(process.env.PORT)`,
  },
}

test('F2: kill -9 of an app costs what it was answering, nothing of what comes, and nothing of its neighbours', async () => {
  await edge.deploy('victim', server)
  await edge.deploy('neighbour', server)
  await edge.deploy('pages', { kind: 'static', files: { 'index.html': 'fine' } })
  const born = async () => (await edge.ask('victim', '/born')).body
  const others = ['neighbour', 'pages'].map((app) => new Traffic(edge.port, edge.hostOf(app), '/'))
  await expect.poll(() => Math.min(...others.map(({ count }) => count))).toBeGreaterThan(10)

  for (let round = 1; round <= 2; round++) {
    const before = await born()
    const inFlight = await edge.socket()
    inFlight.write(`GET /waits HTTP/1.1\r\nHost: ${edge.hostOf('victim')}\r\n\r\n`)
    await once(inFlight, 'data')
    const cut = once(inFlight, 'close')
    const killed = hosts()
    expect(killed.length).toBeGreaterThan(0)
    killAll(killed)
    await expect.poll(() => killed.filter(isAlive)).toEqual([])
    // A GET that finds nobody is sent again to the process that comes next: the first time at once, then after a second.
    expect(await edge.ask('victim', '/')).toMatchObject({ status: 200, body: 'fine' })
    expect(await born()).not.toBe(before)
    await cut
  }

  for (const traffic of others) {
    await traffic.stop()
    expect(traffic.failures).toEqual([])
  }
})

test('F2: the pauses before an app that keeps dying is started again grow from one second to sixty', () => {
  expect(defaultLimits).toMatchObject({ firstBackoffMs: 1_000, maxBackoffMs: 60_000 })
})

function hosts(): number[] {
  return processesOf(join(edge.config.home, 'edge/apps/victim')).map(({ pid }) => pid)
}
