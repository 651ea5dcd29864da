import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { edgeProcesses } from '../test/support/edge-process.ts'

let database: TestDatabase
let edge: TestEdge

// A fetch app that has taken the channel from the platform's own code in its thread, and answers in frames of its own.
const hostile = `
import net from 'node:net'
const frame = (type, flags, stream, payload) => {
  const head = Buffer.alloc(12)
  head.writeUInt32LE(payload.length, 0)
  head[4] = type
  head[5] = flags
  head.writeUInt32LE(stream, 8)
  return Buffer.concat([head, payload])
}
const lines = (...all) => { const text = Buffer.from(all.join('\\n'), 'latin1'); const length = Buffer.alloc(4); length.writeUInt32LE(text.length); return Buffer.concat([length, text]) }
const whole = (stream, head, body = 'BO') => frame(2, 1, stream, Buffer.concat([lines(...head), Buffer.from(body)]))
const begun = (stream, ...head) => frame(2, 0, stream, lines('200', 'OK', ...head))
const data = (stream, text, end = 0) => frame(3, end, stream, Buffer.from(text))
const answers = {
  '/status-099': (s) => whole(s, ['099', 'No']),
  '/status-000': (s) => whole(s, ['000', 'No']),
  '/status-600': (s) => whole(s, ['600', 'No']),
  '/status-9999': (s) => whole(s, ['9999', 'No']),
  '/status-word': (s) => whole(s, ['abc', 'No']),
  '/status-negative': (s) => whole(s, ['-20', 'No']),
  '/status-spaced': (s) => whole(s, [' 200', 'No']),
  '/status-nothing': (s) => whole(s, ['', '']),
  '/switch': (s) => whole(s, ['101', 'Switching', 'connection', 'upgrade', 'upgrade', 'x']),
  '/interim': (s) => whole(s, ['103', 'Early']),
  '/reason-control': (s) => whole(s, ['200', 'O\\x01K']),
  '/reason-return': (s) => whole(s, ['200', 'OK\\rX: y']),
  '/reason-nul': (s) => whole(s, ['200', 'O\\0K']),
  '/value-return': (s) => whole(s, ['200', 'OK', 'x', 'a\\rset-cookie: own=1']),
  '/value-nul': (s) => whole(s, ['200', 'OK', 'x', 'a\\0']),
  '/value-control': (s) => whole(s, ['200', 'OK', 'x', 'a\\x1b[31m']),
  '/name-space': (s) => whole(s, ['200', 'OK', 'x y', 'a']),
  '/name-colon': (s) => whole(s, ['200', 'OK', 'x: y', 'a']),
  '/name-return': (s) => whole(s, ['200', 'OK', 'x\\rset-cookie', 'a']),
  '/name-nothing': (s) => whole(s, ['200', 'OK', '', 'a']),
  '/line-injected': (s) => whole(s, ['200', 'OK', 'x', 'a\\nset-cookie: own=1']),
  '/coding': (s) => whole(s, ['200', 'OK', 'transfer-encoding', 'gzip']),
  '/length-more': (s) => whole(s, ['200', 'OK', 'content-length', '1']),
  '/length-less': (s) => whole(s, ['200', 'OK', 'content-length', '9']),
  '/length-twice': (s) => whole(s, ['200', 'OK', 'content-length', '2', 'content-length', '3']),
  '/length-word': (s) => whole(s, ['200', 'OK', 'content-length', '0x2']),
  '/huge-head': (s) => whole(s, ['200', 'OK', 'x', 'a'.repeat(1_000_000)]),
  '/head-torn': (s) => frame(2, 1, s, Buffer.from([255, 255, 0, 0, 1])),
  '/head-empty': (s) => frame(2, 1, s, Buffer.alloc(0)),
  '/data-first': (s) => data(s, 'BO', 1),
  '/request': (s) => frame(1, 1, s, lines('GET', '/')),
  '/type-unknown': (s) => frame(9, 1, s, Buffer.alloc(0)),
  '/length-above-all': (s) => Buffer.concat([Buffer.from([255, 255, 255, 255]), frame(2, 1, s, lines('200', 'OK')).subarray(4)]),
  '/garbage': () => Buffer.from('good day\\r\\n\\r\\n'.repeat(100)),
  '/window-torn': (s) => frame(5, 0, s, Buffer.from([1])),
  '/reset': (s) => frame(4, 1, s, Buffer.from('no')),
  '/reset-control': (s) => frame(4, 1, s, Buffer.from('\\x1b[2J\\r\\nHTTP/1.1 200 OK\\r\\n')),
  '/hang-up': () => null,
  // Bodies that do not end as they began.
  '/cut': (s) => [begun(s, 'content-length', '20'), data(s, 'BO'), null],
  '/cut-reset': (s) => [begun(s), data(s, 'BO'), frame(4, 1, s, Buffer.from('no'))],
  '/short': (s) => [begun(s, 'content-length', '20'), data(s, 'BO', 1)],
  '/long': (s) => [begun(s, 'content-length', '2'), data(s, 'BOHTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nstolen', 1)],
  '/second-head': (s) => [begun(s), data(s, 'BO'), whole(s, ['200', 'OK'])],
  '/over-window': (s) => [begun(s), ...Array.from({ length: 40 }, () => data(s, 'x'.repeat(65_536)))],
  '/stays-open': (s) => [begun(s, 'content-length', '20'), data(s, 'BO')],
  // What costs nobody more than the time to read it.
  '/no-body-204': (s) => whole(s, ['204', 'No'], 'smuggled'),
  '/no-body-304': (s) => whole(s, ['304', 'No'], 'smuggled'),
  '/both': (s) => whole(s, ['200', 'OK', 'transfer-encoding', 'chunked', 'content-length', '2'], 'ok'),
  '/hop-by-hop': (s) => whole(s, ['200', 'OK', 'connection', 'x-own', 'x-own', '1', 'keep-alive', 'timeout=9', 'upgrade', 'h2c', 'x-atelier-deployment', 'forged'], 'ok'),
  '/proto': (s) => whole(s, ['200', 'OK', '__proto__', 'x', 'constructor', 'y'], 'ok'),
  '/strangers': (s) => [...Array.from({ length: 20_000 }, (_, n) => frame(4, 1, 1_000_000 + n, Buffer.from('no'))), whole(s, ['200', 'OK'], 'ok')],
  '/credit': (s) => [...Array.from({ length: 1000 }, () => frame(5, 0, s, Buffer.from([255, 255, 255, 255]))), whole(s, ['200', 'OK'], 'ok')],
}
const write = net.Socket.prototype.write
const paths = []
net.Socket.prototype.write = function (bytes, ...rest) {
  if (!Buffer.isBuffer(bytes) || bytes.length < 12 || bytes[4] !== 2) return write.call(this, bytes, ...rest)
  // One response a frame, in the order in which they were asked for, for the tests ask one after the other.
  const path = paths.shift()
  if (!Object.hasOwn(answers, path)) return path === '/never' ? true : write.call(this, bytes, ...rest)
  for (const piece of [answers[path](bytes.readUInt32LE(8))].flat()) {
    if (piece === null) return this.destroySoon(), true
    write.call(this, piece)
  }
  return true
}
export default { fetch(request) { const { pathname } = new URL(request.url); paths.push(pathname); return new Response('fine') } }
`

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { headTimeoutMs: 1_000, idleTimeoutMs: 1_000 } })
  await edge.deploy('hostile', { kind: 'fetch', server: { 'index.mjs': hostile } })
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

const heads = [...hostile.matchAll(/^ {2}'(\/[\w-]+)'/gm)].map(([, path = '']) => path)
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
