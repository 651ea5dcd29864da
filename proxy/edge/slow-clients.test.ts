import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { edgeProcesses } from '../../test/support/edge-process.ts'
import { Traffic } from '../../test/support/traffic.ts'

let database: TestDatabase
let edge: TestEdge

// Says of its clients how many it hears and how much it has written for them.
const server = `
import { createServer } from 'node:http'
const state = { begun: 0, open: 0, written: 0 }
createServer((request, response) => {
  if (request.url === '/state') return response.end(JSON.stringify(state))
  if (request.url === '/') return response.end('fine')
  state.begun++
  state.open++
  response.on('close', () => state.open--)
  if (request.url === '/upload') return request.resume().on('error', () => undefined)
  const chunk = Buffer.alloc(65_536)
  const more = () => {
    while (!response.destroyed) {
      state.written += chunk.length
      if (!response.write(chunk)) return response.once('drain', more)
    }
  }
  more()
}).listen(process.env.PORT)
`
const fetchApp = `
const state = { begun: 0, open: 0, written: 0 }
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/state') return Response.json(state)
    if (pathname === '/') return new Response('fine')
    state.begun++
    state.open++
    if (pathname === '/upload') {
      try { await request.arrayBuffer() } finally { state.open-- }
      return new Response('whole')
    }
    return new Response(new ReadableStream({
      pull(controller) { state.written += 65_536; controller.enqueue(new Uint8Array(65_536)) },
      cancel() { state.open-- },
    }))
  },
}
`

beforeAll(async () => {
  database = await createDatabase()
  const limits = { headersTimeoutMs: 2_000, stallWindowMs: 600, stallMinBytes: 1_000 }
  edge = await TestEdge.start(database.url, { limits })
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': server } })
  await edge.deploy('process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': server } })
  await edge.deploy('fetch', { kind: 'fetch', server: { 'index.mjs': fetchApp } })
  await edge.deploy('files', {
    kind: 'static',
    files: { 'index.html': 'fine', 'big.bin': Buffer.alloc(64_000_000, 1) },
  })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

/** Clients that each say `first` and then `drip` again and again. Resolves when the edge has closed all of them. */
async function clients(
  count: number,
  first: string,
  drip: string | null,
): Promise<{ heard: string[]; closed: Promise<unknown> }> {
  const sockets = await Promise.all(Array.from({ length: count }, () => edge.socket()))
  const heard = sockets.map(() => '')
  const closed = sockets.map(async (socket, index) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      heard[index] = `${heard[index]}${chunk}`
    })
    if (first !== '') socket.write(first)
    const timer = drip === null ? null : setInterval(() => socket.writable && socket.write(drip), 50)
    // Not `once`, which takes an error for the end.
    await new Promise((ended) => socket.on('close', ended))
    if (timer) clearInterval(timer)
  })
  return { heard, closed: Promise.all(closed) }
}

const stateOf = async (app: string): Promise<{ begun: number; open: number; written: number }> =>
  JSON.parse((await edge.ask(app, '/state')).body)
const head = (app: string, line: string, ...lines: string[]) =>
  [line, `Host: ${app}.apps.localhost`, ...lines, '', ''].join('\r\n')

test('E5: who goes on dripping a head when the answer has been given is not read on', async () => {
  const socket = connect({ port: edge.port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  let heard = ''
  socket.on('data', (chunk) => {
    heard += chunk
  })
  socket.write('GET / HTTP/1.1\r\nHost: server.apps.localhost\r\nX: ')
  const timer = setInterval(() => socket.writable && socket.write('a'), 50)
  await expect.poll(() => socket.closed).toBe(true)
  clearInterval(timer)
  expect(heard).toMatch(/^HTTP\/1\.1 408 /)
})

test('E5: connections that never end their head are closed, each of them, and others are served all the while', async () => {
  const before = edgeProcesses(edge.port)
  const traffic = ['server', 'fetch', 'files'].map((app) => new Traffic(edge.port, edge.hostOf(app), '/'))
  const kinds = await Promise.all([
    clients(150, '', null),
    clients(150, 'GET / HTTP/1.1\r\nHost: server.apps.localhost\r\nX: ', 'a'),
    clients(150, 'GET / HTTP/1.1\r\nHost: server.apps.localhost\r\n', 'X: y\r\n'),
    clients(150, 'G', null),
  ])
  await Promise.all(kinds.map(({ closed }) => closed))
  for (const { heard } of kinds)
    expect(
      heard
        .map((answer) => answer.split('\r\n')[0])
        .filter((line) => line !== 'HTTP/1.1 408 The request cannot be served'),
    ).toEqual([])
  for (const one of traffic) expect((await one.stop()).failures).toEqual([])
  await expect.poll(() => edgeProcesses(edge.port).descriptors).toBeLessThanOrEqual(before.descriptors + 5)
})

test.each(['server', 'process', 'fetch'])(
  'E5: uploads to a %s app that only drip are ended, at the app too',
  async (app) => {
    const sent = head(app, 'POST /upload HTTP/1.1', 'Content-Length: 100000')
    const { begun } = await stateOf(app)
    const { closed } = await clients(30, sent, 'x')
    await expect.poll(async () => (await stateOf(app)).begun).toBe(begun + 30)
    await closed
    await expect.poll(async () => (await stateOf(app)).open).toBe(0)
  },
)

test('E5: a body that drips behind an answer that needs none of it is ended: of an unknown host, a file, the platform', async () => {
  await Promise.all(
    ['nobody.apps.localhost', 'files.apps.localhost', 'api.localhost'].map(async (host) => {
      const { heard, closed } = await clients(
        30,
        ['POST / HTTP/1.1', `Host: ${host}`, 'Transfer-Encoding: chunked', '', ''].join('\r\n'),
        '1\r\nx\r\n',
      )
      await expect.poll(() => heard.every((answer) => /^HTTP\/1\.1 (404|405|503) /.test(answer))).toBe(true)
      await closed
    }),
  )
})

test.each(['server', 'process', 'fetch'])(
  'E5: downloads of a %s app that nobody reads are ended, and wait at the app',
  async (app) => {
    const before = await stateOf(app)
    const sockets = await notReading(20, head(app, 'GET /endless HTTP/1.1'))
    await expect.poll(async () => (await stateOf(app)).begun).toBe(before.begun + 20)
    await expect.poll(async () => (await stateOf(app)).open).toBe(0)
    // What the kernel takes for a reader who never reads, on both of its ways, and the edge's own buffers.
    expect((await stateOf(app)).written - before.written).toBeLessThan(20 * 48_000_000)
    for (const socket of sockets) socket.destroy()
  },
)

test('E5: downloads of a file that nobody reads are ended', async () => {
  // More than a kernel takes for a reader who never reads (37 MB where tcp_rmem is 32); its digest is checked on first use.
  await edge.ask('files', '/big.bin', { headers: { range: 'bytes=0-0' } })
  const sockets = await notReading(5, head('files', 'GET /big.bin HTTP/1.1'))
  await expect.poll(() => edgeProcesses(edge.port).connections).toBeGreaterThanOrEqual(5)
  // Ours stay open until they read; the edge's are gone.
  await expect.poll(() => edgeProcesses(edge.port).connections, { timeout: 60_000 }).toBe(0)
  for (const socket of sockets) socket.destroy()
})

async function notReading(count: number, request: string): Promise<Socket[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => edge.socket()))
  for (const socket of sockets) socket.on('error', () => undefined).write(request)
  return sockets
}
