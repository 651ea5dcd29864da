import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../../../registry/app-logs.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'
import { edgeProcesses } from '../../../test/support/edge-process.ts'
import { FrameWalker } from './websocket-frames.ts'

let database: TestDatabase
let edge: TestEdge

// The WebSocket handshake by hand, and then an echo of bytes: what the edge carries is a stream.
const live = `
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
let sockets = 0
const server = createServer((request, response) => {
  if (request.url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.flushHeaders()
    const timer = setInterval(() => response.write('data: tick VERSION\\n\\n'), 20)
    response.on('close', () => clearInterval(timer))
    return
  }
  if (request.url === '/quiet') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    return
  }
  response.end(JSON.stringify({ sockets }))
})
server.on('upgrade', (request, socket, head) => {
  if (request.url === '/refuse') return socket.end('HTTP/1.1 403 Forbidden\\r\\nContent-Length: 2\\r\\nX-Atelier-Deployment: forged\\r\\n\\r\\nno')
  if (request.url === '/hostile') return socket.end('HTTP/1.1 099 N\\x01o\\r\\nContent-Length: 2\\r\\n\\r\\nno')
  if (request.url === '/hang') return
  if (request.url === '/drop') return socket.destroy()
  sockets++
  socket.on('close', () => sockets--)
  socket.on('error', () => undefined)
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n')
  socket.write('VERSION:' + request.headers['x-forwarded-for'] + ';')
  socket.pipe(socket)
})
server.listen(3000)
`
const app = (version: string) => ({
  kind: 'server' as const,
  server: { 'index.mjs': live.replaceAll('VERSION', version) },
})

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await edge.deploy('live', app('one'))
  await edge.deploy('plain', {
    kind: 'server',
    server: {
      'index.mjs': `import { createServer } from 'node:http'\ncreateServer((_, answer) => answer.end('no upgrades')).listen(3000)`,
    },
  })
  await edge.deploy('fetch', {
    kind: 'fetch',
    server: { 'index.mjs': `export default { fetch: () => new Response('fetched') }` },
  })
  await edge.deploy('files', { kind: 'static', files: { 'index.html': 'page' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

type Where = { app?: string; more?: string[] }
const handshake = (path: string, { app = 'live', more = [] }: Where = {}) =>
  [
    `GET ${path} HTTP/1.1`,
    `Host: ${app}.apps.localhost`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'X-Forwarded-For: 6.6.6.6',
    ...more,
    '',
    '',
  ].join('\r\n')

async function open(path: string, where: Where = {}) {
  const socket = await edge.socket()
  socket.on('error', () => undefined)
  const heard = { text: '' }
  socket.on('data', (chunk) => {
    heard.text += chunk.toString('latin1')
  })
  socket.write(handshake(path, where))
  return { socket, heard }
}

const openSockets = async () => JSON.parse((await edge.ask('live', '/')).body).sockets

test('a WebSocket is carried both ways, and either side closes it', async () => {
  const { socket, heard } = await open('/socket')
  await expect
    .poll(() => heard.text)
    .toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n[\s\S]*\r\n\r\none:127\.0\.0\.1;$/)
  expect(heard.text.toLowerCase()).toContain('sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=')
  socket.write('hello')
  await expect.poll(() => heard.text).toMatch(/hello$/)
  expect(await openSockets()).toBe(1)
  socket.resetAndDestroy()
  await expect.poll(openSockets).toBe(0)
})

test('E7: a refused handshake arrives as the app gave it, without what only the platform says', async () => {
  const { socket, heard } = await open('/refuse')
  await once(socket, 'close')
  expect(heard.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*no$/)
  expect(heard.text).not.toContain('forged')
})

test('E7: a hostile or missing answer to a handshake is a 502 for that client alone', async () => {
  for (const path of ['/hostile', '/drop']) {
    const { socket, heard } = await open(path)
    await once(socket, 'close')
    expect(heard.text).toMatch(/^HTTP\/1\.1 502 /)
  }
  expect(await openSockets()).toBe(0)
})

test('E7: clients that reset before, during and after the handshake leave nothing behind', async () => {
  for (let round = 0; round < 20; round++) {
    for (const path of ['/hang', '/socket', '/refuse', '/nothing']) {
      const socket = connect(edge.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(handshake(path))
      if (round % 2 === 0) await once(socket, 'connect')
      if (round % 4 === 0 && path !== '/hang') await once(socket, 'data')
      socket.resetAndDestroy()
    }
  }
  await expect.poll(openSockets).toBe(0)
})

test.each([
  ['plain', /^HTTP\/1\.1 200 OK[\s\S]*no upgrades/],
  ['fetch', /^HTTP\/1\.1 501 /],
  ['files', /^HTTP\/1\.1 404 /],
  ['nobody', /^HTTP\/1\.1 404 /],
])(
  'E7: %s, which takes no handshake, answers it, and clients that reset meanwhile leave nothing behind',
  async (app, answer) => {
    const before = edgeProcesses(edge.port)
    for (let round = 0; round < 10; round++) {
      const { socket, heard } = await open('/', { app })
      if (round < 5) await once(socket, 'close')
      else socket.resetAndDestroy()
      if (round < 5) expect(heard.text).toMatch(answer)
    }
    await expect.poll(() => edgeProcesses(edge.port).descriptors).toBeLessThanOrEqual(before.descriptors + 5)
    expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
  },
)

test('E7: clients that are refused and then neither close nor read are closed by the edge', async () => {
  const sockets = Array.from({ length: 10 }, (_, index) => {
    const socket = connect({ port: edge.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => undefined).write(handshake('/', { app: ['nobody', 'fetch'][index % 2] ?? '' }))
    return socket
  })
  await expect.poll(() => edgeProcesses(edge.port).open).toBeGreaterThanOrEqual(10)
  await expect.poll(() => edgeProcesses(edge.port).open).toBe(0)
  for (const socket of sockets) socket.destroy()
})

test.each([
  ['a length', ['Content-Length: 5']],
  ['chunks', ['Transfer-Encoding: chunked']],
  ['a length and chunks', ['Content-Length: 5', 'Transfer-Encoding: chunked']],
])('E7: a handshake with a body, by %s, is refused, and the app hears nothing of it', async (_how, more) => {
  const before = await openSockets()
  const { socket, heard } = await open('/socket', { more })
  socket.write('GET /smuggled HTTP/1.1\r\nHost: live.apps.localhost\r\n\r\n')
  await once(socket, 'close')
  expect(heard.text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400'])
  expect(await openSockets()).toBe(before)
})

test('E7: what a client says before the app has taken its handshake reaches the app only if it does', async () => {
  const said = 'GET /smuggled HTTP/1.1\r\nHost: live.apps.localhost\r\n\r\n'
  const taken = await open('/socket')
  taken.socket.write(said)
  await expect.poll(() => taken.heard.text).toContain(`;${said}`)
  taken.socket.destroy()
  for (const path of ['/refuse', '/hostile', '/drop']) {
    const { socket, heard } = await open(path)
    socket.write(said)
    await once(socket, 'close')
    expect(heard.text.match(/HTTP\/1\.1 \d+/g)).toHaveLength(1)
  }
})

test('E7: five hundred idle WebSockets cost nobody anything, and are gone with their clients', async () => {
  await expect.poll(openSockets).toBe(0)
  const before = edgeProcesses(edge.port)
  const opened = await Promise.all(Array.from({ length: 500 }, () => open('/socket')))
  await expect.poll(openSockets).toBe(500)
  expect(await edge.ask('plain', '/')).toMatchObject({ status: 200 })
  for (const [index, { socket }] of opened.entries()) {
    if (index % 2 === 0) socket.resetAndDestroy()
    else socket.destroy()
  }
  await expect.poll(openSockets).toBe(0)
  await expect.poll(() => edgeProcesses(edge.port).descriptors).toBeLessThanOrEqual(before.descriptors + 5)
  expect(edgeProcesses(edge.port).pids).toEqual(before.pids)
})

test('server-sent events arrive as they are written, also before the first one', async () => {
  const socket = await edge.socket()
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.write('GET /quiet HTTP/1.1\r\nHost: live.apps.localhost\r\n\r\n')
  await expect.poll(() => text).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*text\/event-stream[\s\S]*\r\n\r\n$/)
  socket.destroy()
})

test('streams and WebSockets go on over a flip, on the version they began with', async () => {
  await edge.deploy('live', app('two'))
  const { socket, heard } = await open('/socket')
  await expect.poll(() => heard.text).toContain('two:')
  const events = await edge.socket()
  let ticks = ''
  events.on('data', (chunk) => {
    ticks += chunk
  })
  events.write('GET /events HTTP/1.1\r\nHost: live.apps.localhost\r\n\r\n')
  await expect.poll(() => ticks).toContain('tick two')

  await edge.deploy('live', app('three'))
  const seen = ticks.length
  await expect.poll(() => ticks.length).toBeGreaterThan(seen + 200)
  expect(ticks).not.toContain('tick three')
  socket.write('still here')
  await expect.poll(() => heard.text).toMatch(/still here$/)
  const fresh = await open('/socket')
  await expect.poll(() => fresh.heard.text).toContain('three:')
  for (const one of [socket, events, fresh.socket]) one.destroy()
})

test('what still runs at the drain deadline is cut', async () => {
  await edge.deploy('live', { ...app('four'), drain_timeout_sec: 0.2 })
  const { socket, heard } = await open('/socket')
  await expect.poll(() => heard.text).toContain('four:')
  const closed = once(socket, 'close')
  await edge.deploy('live', app('five'))
  await closed
  expect(await openSockets()).toBe(0)
})

// Speaks in frames, each written in two halves with a pause between them; says in its log how it was told to end.
const framed = `
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
const server = createServer((request, response) => response.end('VERSION'))
const size = 60_000
const frame = Buffer.concat([Buffer.from([0x82, 126, size >> 8, size & 255]), Buffer.alloc(size, 0x88)])
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n')
  let isOver = false
  const say = () => {
    if (!socket.writable) return
    socket.write(frame.subarray(0, 30_000))
    setTimeout(() => {
      socket.write(frame.subarray(30_000))
      if (isOver) socket.end()
      else setTimeout(say, 1)
    }, 20)
  }
  if (request.url === '/talks') say()
  socket.on('error', () => undefined)
  socket.on('data', (bytes) => {
    const mask = bytes.subarray(2, 6)
    const plain = bytes.subarray(6).map((byte, index) => byte ^ mask[index % 4])
    if ((bytes[0] & 15) === 8) console.log('told ' + Buffer.from(plain).readUInt16BE(0) + ' on ' + request.url)
    isOver = true
    if (request.url !== '/talks') socket.end()
  })
})
server.listen(3000)
`

test.each(['/talks', '/silent'])(
  'F10: a WebSocket that is open at the drain deadline (%s) is told 1012 on both sides, between two frames',
  async (path) => {
    const bundle = (version: string) => ({
      kind: 'server' as const,
      server: { 'index.mjs': framed.replaceAll('VERSION', version) },
      drain_timeout_sec: 0.3,
    })
    const app = path.slice(1)
    await edge.deploy(app, bundle('one'))
    const socket = await edge.socket()
    let bytes = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    socket.write(handshake(path).replace('live.', `${app}.`))
    await expect.poll(() => bytes.length).toBeGreaterThan(path === '/talks' ? 200_000 : 100)
    const closed = once(socket, 'close')
    await edge.deploy(app, bundle('two'))
    await closed

    const walker = new FrameWalker()
    let frames = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)
    for (;;) {
      const end = new FrameWalker().push(frames)
      expect(end).not.toBe(-1)
      if (end === frames.length) break
      walker.push(frames.subarray(0, end))
      expect(walker.hasClosed).toBe(false)
      frames = frames.subarray(end)
    }
    expect(frames.readUInt16BE(2)).toBe(1012)
    await expect
      .poll(async () => (await readAppLog(edge.sql, app)).map(({ text }) => text))
      .toContain(`told 1012 on ${path}`)
  },
)

test('a WebSocket is told 1012 when the edge stops', async () => {
  const socket = await edge.socket()
  let bytes = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
  })
  socket.write(handshake('/silent').replace('live.', 'silent.'))
  await expect.poll(() => bytes.toString('latin1')).toMatch(/\r\n\r\n$/)
  const closed = once(socket, 'close')
  await edge.shut()
  await closed
  expect(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4).readUInt16BE(2)).toBe(1012)
})
