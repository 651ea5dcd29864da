import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'
import { edgeProcesses } from '../../../test/support/edge-process.ts'
import { hostileFetchApp, pathsOf } from '../../../test/support/hostile-apps.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { headTimeoutMs: 1_000, idleTimeoutMs: 1_000 } })
  await edge.deploy('hostile', { kind: 'fetch', server: { 'index.mjs': hostileFetchApp } })
  await edge.deploy('good', {
    kind: 'fetch',
    server: { 'index.mjs': `export default { fetch: () => new Response('good') }` },
  })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

async function get(path: string, method = 'GET'): Promise<string> {
  const socket = await edge.socket()
  socket.on('error', () => undefined)
  // A second request on the same connection: it must get its own answer, or none.
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: hostile.apps.localhost\r\n\r\n`)
  socket.write('GET / HTTP/1.1\r\nHost: good.apps.localhost\r\nConnection: close\r\n\r\n')
  return (await buffer(socket).catch(() => Buffer.alloc(0))).toString('latin1')
}
const behaves = () => edge.ask('hostile', '/')

const heads = pathsOf(hostileFetchApp)
const between = (from: string, to: string) => heads.slice(heads.indexOf(from), heads.indexOf(to))

test.each(between('/status-099', '/cut'))(
  'I4: an answer like %s over the channel costs its own request alone: 502',
  async (path) => {
    const before = edgeProcesses(edge.port)
    const answer = await get(path)
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway/)
    expect(answer).not.toMatch(/BO|own=1|\x1b/)
    expect(answer).toMatch(/HTTP\/1\.1 200 OK[\s\S]*good$/)
    expect(await behaves()).toMatchObject({ status: 200, body: 'fine' })
    expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
  },
)

test.each(between('/cut', '/no-body-204'))(
  'I4: a body like %s over the channel ends in a closed connection, not in a response that looks whole',
  async (path) => {
    const answer = await get(path)
    // Nothing of it had been passed on where it is known to be wrong from the start.
    if (!answer.startsWith('HTTP/1.1 502 ')) {
      expect(answer).not.toMatch(/\r\n0\r\n\r\n/)
      expect((answer.match(/HTTP\/1\.1 \d/g) ?? []).length).toBeLessThanOrEqual(1)
    }
    expect(answer).not.toContain('stolen')
    expect(await behaves()).toMatchObject({ status: 200, body: 'fine' })
    expect(await edge.ask('good', '/')).toMatchObject({ status: 200, body: 'good' })
  },
)

test.each(heads.slice(heads.indexOf('/no-body-204')))(
  'I4: an answer like %s over the channel is passed on in the one way it can be read',
  async (path) => {
    const answer = await get(path)
    expect(answer).not.toMatch(/smuggled|forged|x-own|timeout=9|h2c/)
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual([expect.stringMatching(/ (200|204|304)$/), 'HTTP/1.1 200'])
    expect(answer).toMatch(/good$/)
    expect(await behaves()).toMatchObject({ status: 200, body: 'fine' })
  },
)

test('I4: an answer that never comes over the channel is a 504 for its own request', async () => {
  const socket = await edge.socket()
  socket.write('GET /never HTTP/1.1\r\nHost: hostile.apps.localhost\r\n\r\n')
  const answered = once(socket, 'data')
  expect(await edge.ask('good', '/')).toMatchObject({ status: 200 })
  expect(String((await answered)[0])).toMatch(/^HTTP\/1\.1 504 Gateway Timeout/)
  socket.destroy()
})

test('I7: names of headers do not reach prototypes, on the way in or out', async () => {
  const names = { ['__proto__']: 'a', constructor: 'b', 'to-string': 'c' }
  expect(await edge.ask('good', '/', { headers: names })).toMatchObject({ status: 200 })
  expect((await edge.ask('hostile', '/proto')).headers).toMatchObject({ constructor: 'y' })
  expect(await edge.ask('good', '/')).toMatchObject({ status: 200, headers: { 'content-type': expect.any(String) } })
})
