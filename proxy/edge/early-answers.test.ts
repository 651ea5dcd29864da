import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { awaitRouteSeen } from '../../registry/edges.ts'
import { goLive } from '../../registry/release.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { ReadyResponse } from './app/ready-response.ts'
import { answerEarly, expectEarly } from './early-answers.ts'

/** A server whose answers are ready from the second on; `made` counts the responses that Node made for them. */
async function readyServer(body: Buffer, options: { highWaterMark?: number } = {}) {
  const seen = { made: 0, early: 0, closed: 0 }
  let ready: ReadyResponse | null = null
  const listener: RequestListener = (request, response) => {
    seen.made++
    response.on('close', () => seen.closed++)
    if (ready?.send(response)) return expectEarly(request.socket)
    response.writeHead(200, ['content-length', String(body.length)])
    ready ??= ReadyResponse.of(response, body)
    response.end(body)
  }
  const server = createServer({ ...options, keepAliveTimeout: 0 }, listener)
  const queued: (() => number)[] = []
  server.on('connection', (socket) => {
    queued.push(() => socket.writableLength)
    answerEarly(socket, ({ url }) => {
      if (url !== '/' || !ready) return null
      seen.early++
      return ready.write(socket) ? 'whole' : 'begun'
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => undefined)
  return { seen, server, socket, queued: () => queued[0]?.() ?? 0 }
}

/** Sends it, and reads one answer that says its length. */
async function exchange(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  let heard = ''
  for (;;) {
    heard += (await once(socket, 'data'))[0].toString('latin1')
    const end = heard.indexOf('\r\n\r\n')
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(heard)?.[1] ?? 0)
    const isBodyless = text.startsWith('HEAD') || /^HTTP\/1\.1 304/.test(heard)
    if (end !== -1 && (isBodyless || heard.length >= end + 4 + length))
      return heard.replace(/\r\nDate: [^\r]+/, '\r\nDate: …')
  }
}

const get = (path = '/', ...lines: string[]) => [`GET ${path} HTTP/1.1`, 'Host: a', ...lines, '', ''].join('\r\n')

test('who has been sent what is ready is answered before a response is made, byte for byte as by Node', async () => {
  const { socket, seen } = await readyServer(Buffer.from('some text'))
  const answers: string[] = []
  for (let round = 0; round < 6; round++) answers.push(await exchange(socket, get()))
  expect(new Set(answers).size).toBe(1)
  expect(seen).toMatchObject({ made: 2, early: 4 })
  // Another request in between goes its own way, and so does what follows it.
  await exchange(socket, get('/other'))
  expect(seen).toMatchObject({ made: 3, early: 4 })
})

test.each([
  ['another method', 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a body', get('/', 'Content-Length: 2').concat('hi')],
  ['a body in chunks', get('/', 'Transfer-Encoding: chunked').concat('0\r\n\r\n')],
  ['an older version', 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n'],
  ['an expectation', get('/', 'Expect: 100-continue', 'Content-Length: 0')],
  ['a connection that is to be closed', get('/', 'Connection: close')],
])('a request with %s gets its response from Node', async (_, text) => {
  const { socket, seen } = await readyServer(Buffer.from('some text'))
  for (let round = 0; round < 3; round++) await exchange(socket, get())
  expect(seen).toMatchObject({ made: 2, early: 1 })
  socket.write(text)
  await expect.poll(() => seen.made).toBe(3)
  expect(seen.early).toBe(1)
})

test('requests sent ahead are answered in their order', async () => {
  const { socket, seen } = await readyServer(Buffer.from('some text'))
  for (let round = 0; round < 3; round++) await exchange(socket, get())
  let heard = ''
  socket.on('data', (chunk) => {
    heard += chunk.toString('latin1')
  })
  socket.write([get(), get('/other'), get(), get(), get('/', 'Connection: close')].join(''))
  await once(socket, 'close')
  expect(heard.split('some text')).toHaveLength(6)
  expect(heard.match(/Connection: close/g)).toHaveLength(1)
  expect(seen.made + seen.early).toBe(8)
})

test('an answer that its client does not take has a response that waits for it, and comes whole', async () => {
  const large = Buffer.alloc(60_000, 'x')
  const { socket, seen, queued } = await readyServer(large, { highWaterMark: 1024 })
  for (let round = 0; round < 3; round++) await exchange(socket, get())
  expect(seen).toMatchObject({ made: 2, early: 1 })
  socket.pause()
  let asked = 3
  while (queued() === 0) {
    asked++
    socket.write(get())
    await expect.poll(() => seen.early, { interval: 1 }).toBe(asked - 2)
  }
  // The last has a response, which is not closed.
  expect(seen).toMatchObject({ made: 3, closed: 2 })
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
  })
  socket.write(get('/', 'Connection: close'))
  socket.resume()
  await once(socket, 'close')
  expect(bytes).toBeGreaterThan((asked - 2) * large.length)
  expect(bytes % large.length).toBeLessThan(1_000 * (asked - 2))
  await expect.poll(() => seen.closed).toBe(seen.made)
})

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 1 })
  const files = {
    'index.html': 'home',
    'a.txt': 'a'.repeat(5_000),
    'b.js': 'b'.repeat(20_000),
    'docs/index.html': 'docs',
  }
  await edge.deploy('site', { kind: 'static', files })
  await edge.deploy('other', { kind: 'static', files: { ...files, 'a.txt': 'another' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

test('on a connection that has had many files every request is answered as the first on its own', async () => {
  const hosts = fc.constantFrom('site.apps.localhost', 'other.apps.localhost', 'SITE.apps.localhost:80')
  const paths = fc.constantFrom('/a.txt', '/a.txt?q', '/b.js', '/', '/docs', '/none', '/%61.txt', '/%2e%2e/a.txt')
  const more = fc.constantFrom(
    [],
    ['Accept-Encoding: br'],
    ['Accept-Encoding: gzip, zstd'],
    ['Range: bytes=1-3'],
    ['If-None-Match: *'],
    ['If-Match: "x"'],
    ['Accept: text/html'],
    ['Cookie: a=b'],
    ['X-Atelier-Version: 1'],
  )
  const requests = fc.record({ method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD'), host: hosts, path: paths, more })
  const textOf = ({
    method,
    host,
    path,
    more,
  }: {
    method: string
    host: string
    path: string
    more: readonly string[]
  }) => [`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...more, '', ''].join('\r\n')
  const kept = await edge.socket()
  const isWarm = textOf({ method: 'GET', host: 'site.apps.localhost', path: '/a.txt', more: [] })
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { minLength: 1, maxLength: 6 }), async (asked) => {
      for (let round = 0; round < 4; round++) await exchange(kept, isWarm)
      for (const one of asked) {
        const alone = await edge.socket()
        const expected = await exchange(alone, textOf(one))
        alone.destroy()
        expect(await exchange(kept, textOf(one))).toBe(expected)
      }
    }),
    { numRuns: 60 },
  )
  kept.destroy()
})

test('what is answered early is counted like everything else', async () => {
  const { id } = await edge.prepare('counted', { kind: 'static', files: { 'a.txt': 'counted' } })
  await goLive(edge.sql, id, { config: edge.config, by: 'test' })
  expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 20_000 })).toBe(true)
  const kept = await edge.socket()
  const text = 'GET /a.txt HTTP/1.1\r\nHost: counted.apps.localhost\r\n\r\n'
  for (let round = 0; round < 12; round++) expect(await exchange(kept, text)).toMatch(/counted$/)
  kept.destroy()
  const sum = async () => {
    const [row] = await edge.sql<{ requests: number }[]>`
      select coalesce(sum(requests), 0)::int as requests
      from route_bins
      where deployment_id = ${id}
    `
    return row?.requests
  }
  await expect.poll(sum, { timeout: 30_000 }).toBe(12)
})
