import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { defaultLimits } from '../../proxy/limits.ts'
import { createDatabase, type TestDatabase } from '../support/database.ts'
import { TestEdge } from '../support/edge.ts'
import { edgeProcesses } from '../support/edge-process.ts'
import { Traffic } from '../support/traffic.ts'

// What proxy/slow-clients, proxy/aborts and proxy/upgrades test in hundreds, in the numbers of security.md and with the limits people have.
let database: TestDatabase
let edge: TestEdge

const server = `
import { createServer } from 'node:http'
let sockets = 0
const app = createServer((request, response) => {
  if (request.url !== '/endless') return response.end(JSON.stringify({ sockets }))
  const chunk = Buffer.alloc(65_536)
  const more = () => { while (!response.destroyed) if (!response.write(chunk)) return response.once('drain', more) }
  more()
})
app.on('upgrade', (request, socket) => {
  sockets++
  socket.on('error', () => undefined).on('close', () => sockets--)
  socket.pipe(socket)
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n')
})
app.listen(process.env.PORT)
`

beforeAll(async () => {
  database = await createDatabase()
  // The ten seconds are the edge's own, and not those of tests in which nobody drips.
  const { headersTimeoutMs } = defaultLimits
  edge = await TestEdge.start(database.url, { edges: 2, limits: { headersTimeoutMs } })
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': server } })
  await edge.deploy('files', { kind: 'static', files: { 'index.html': 'fine' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

/** Opened from 20 addresses of this machine, 500 at a time. */
async function open(count: number, say: string): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(500, count - sockets.length) }, (_, index) => {
      const socket = connect({ port: edge.port, host: '127.0.0.1', localAddress: `127.0.8.${1 + (index % 20)}` })
      return socket.on('error', () => undefined)
    })
    await Promise.all(some.map((socket) => once(socket, 'connect')))
    for (const socket of some) socket.write(say)
    sockets.push(...some)
  }
  return sockets
}

const visitors = () => ['server', 'files'].map((app) => new Traffic(edge.port, edge.hostOf(app), '/'))

async function leave(sockets: Socket[]): Promise<void> {
  for (const [index, socket] of sockets.entries()) {
    if (index % 2 === 0) socket.resetAndDestroy()
    else socket.destroy()
  }
  await expect.poll(() => edgeProcesses(edge.port).connections, { timeout: 60_000 }).toBe(0)
}

test('E5: five thousand connections that drip a byte of their head are closed after ten seconds, and nobody else notices', async () => {
  const before = edgeProcesses(edge.port)
  const others = visitors()
  const sockets = await open(5_000, 'GET / HTTP/1.1\r\nHost: server.apps.localhost\r\nX: ')
  expect(edgeProcesses(edge.port).connections).toBeGreaterThanOrEqual(4_000)
  const held = edgeProcesses(edge.port)
  const drip = setInterval(() => {
    for (const socket of sockets) if (socket.writable) socket.write('a')
  }, 5_000)
  await expect.poll(() => sockets.filter(({ closed }) => !closed).length, { timeout: 60_000 }).toBe(0)
  clearInterval(drip)
  for (const one of others) expect((await one.stop()).failures).toEqual([])
  expect(held.rssMb - before.rssMb).toBeLessThanOrEqual(100)
  await expect
    .poll(() => edgeProcesses(edge.port).descriptors, { timeout: 60_000 })
    .toBeLessThanOrEqual(before.descriptors + 5)
  expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
})

test('E5: a hundred downloads without end that nobody reads are cut, and cost little memory', async () => {
  const before = edgeProcesses(edge.port)
  const others = visitors()
  const sockets = (await open(100, 'GET /endless HTTP/1.1\r\nHost: server.apps.localhost\r\n\r\n')).map((one) =>
    one.pause(),
  )
  await expect.poll(() => edgeProcesses(edge.port).connections).toBeGreaterThanOrEqual(100)
  await expect.poll(() => edgeProcesses(edge.port).rssMb - before.rssMb).toBeLessThanOrEqual(100)
  for (const one of others) expect((await one.stop()).failures).toEqual([])
  await expect.poll(() => edgeProcesses(edge.port).connections, { timeout: 180_000 }).toBe(0)
  for (const socket of sockets) socket.destroy()
  expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
})

test('E7: ten thousand idle WebSockets are held and gone with their clients', async () => {
  const before = edgeProcesses(edge.port)
  const others = visitors()
  const handshake = [
    'GET /socket HTTP/1.1',
    'Host: server.apps.localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '',
    '',
  ].join('\r\n')
  const held = async () => JSON.parse((await edge.ask('server', '/')).body).sockets
  // The app's own descriptors are 4,096, and each WebSocket takes one of them: what it cannot hold is refused, and costs nobody else.
  const sockets = await open(10_000, handshake)
  for (const socket of sockets) socket.resume()
  await expect.poll(held, { timeout: 120_000 }).toBeGreaterThan(3_000)
  for (const one of others)
    expect((await one.stop()).failures.filter(({ status }) => status !== 502 && status !== 503)).toEqual([])
  await leave(sockets)
  await expect.poll(held, { timeout: 60_000 }).toBe(0)
  await expect
    .poll(() => edgeProcesses(edge.port).descriptors, { timeout: 60_000 })
    .toBeLessThanOrEqual(before.descriptors + 5)
  expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
})
