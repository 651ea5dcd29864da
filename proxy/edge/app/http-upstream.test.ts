import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { HttpUpstream } from './http-upstream.ts'
import type { Recipient, UpstreamError, UpstreamRequest, UpstreamResponse } from './upstream.ts'

const limits = { headTimeoutMs: 60_000, idleTimeoutMs: 60_000, maxBodyBytes: 100_000_000 }
// App and edge share one process here: who gets no turn for so long is taken for silent.
const impatient = { ...limits, headTimeoutMs: 1_500, idleTimeoutMs: 1_500 }
const get: UpstreamRequest = {
  method: 'GET',
  target: '/',
  headers: ['host', 'a'],
  body: Readable.from([]),
  bodyLength: 0,
}
const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

async function listen(server: Server, given = limits): Promise<HttpUpstream> {
  const folder = await mkdtemp(join(tmpdir(), 'atl-'))
  await once(server.listen({ path: join(folder, 's'), backlog: 2048 }), 'listening')
  const upstream = new HttpUpstream(join(folder, 's'), given)
  onTestFinished(async () => {
    upstream.close()
    server.close()
    await rm(folder, { recursive: true })
  })
  return upstream
}

/** An app that says whatever the test says, one connection like the other. */
async function sayingApp(onData: (socket: Socket, text: string) => void, given = limits) {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => onData(socket, chunk.toString('latin1')))
  })
  return { upstream: await listen(server, given), sockets }
}

const httpApp = (onRequest: RequestListener, given = limits) => listen(createHttpServer(onRequest), given)

function asked(upstream: HttpUpstream, request: Partial<UpstreamRequest> = {}, options: { fresh?: boolean } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>()
  promise.catch(() => undefined)
  const exchange = upstream.send({ ...get, ...request }, { answered: resolve, failed: reject }, options)
  return { response: promise, abort: () => exchange.abort() }
}

async function bodyOf({ body }: UpstreamResponse): Promise<Buffer> {
  return Buffer.isBuffer(body) ? body : buffer(body)
}

const faultOf = (response: Promise<UpstreamResponse>) =>
  response.then(
    () => 'none',
    (error: UpstreamError) => error.fault,
  )

test('one connection carries request after request, and as many as need be carry them at once', async () => {
  const { upstream, sockets } = await sayingApp((socket) => socket.write(ok))
  for (let round = 0; round < 5; round++) expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
  expect(sockets).toHaveLength(1)
  await Promise.all(Array.from({ length: 20 }, () => asked(upstream).response))
  expect(sockets).toHaveLength(20)
  expect((await asked(upstream, {}, { fresh: true }).response).status).toBe(200)
  expect(sockets).toHaveLength(21)
})

test('requests beyond the last connection wait for one, and those given up meanwhile are not sent', async () => {
  const held: Socket[] = []
  const { upstream } = await sayingApp((socket, text) => {
    if (text.startsWith('GET /never')) throw new Error('it was given up')
    held.push(socket)
  })
  const first = Array.from({ length: 1024 }, () => asked(upstream))
  const waiting = [asked(upstream), asked(upstream, { target: '/never' }), asked(upstream)]
  waiting[1]?.abort()
  await expect.poll(() => held.length).toBe(1024)
  for (const socket of held.splice(0)) socket.write(ok)
  await Promise.all(first.map(({ response }) => response))
  await expect.poll(() => held.length).toBe(2)
  for (const socket of held) socket.write(ok)
  for (const index of [0, 2]) expect((await waiting[index]?.response)?.status).toBe(200)
})

test('requests that wait for a connection as long as others wait for an answer are told so', async () => {
  const { upstream, sockets } = await sayingApp(
    (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\nbegun'),
    { ...impatient, headTimeoutMs: 6_000 },
  )
  const streams = await Promise.all(Array.from({ length: 1024 }, () => asked(upstream).response))
  expect(await faultOf(asked(upstream).response)).toBe('timeout')
  expect(sockets).toHaveLength(1024)
  expect(streams.every(({ body }) => (body as Readable).destroyed)).toBe(false)
})

test('a connection whose last answer a slow reader took late carries the next one', async () => {
  const big = 'x'.repeat(100_000)
  const { upstream, sockets } = await sayingApp((socket, text) =>
    socket.write(text.startsWith('GET /big') ? `HTTP/1.1 200 OK\r\ncontent-length: ${big.length}\r\n\r\n${big}` : ok),
  )
  const { body } = await asked(upstream, { target: '/big' }).response
  if (Buffer.isBuffer(body)) throw new Error('it came whole')
  // More than one piece of it is there before the first is read.
  await expect.poll(() => body.readableLength).toBeGreaterThan(65_536)
  expect(await bodyOf({ body } as UpstreamResponse)).toHaveLength(big.length)
  expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
  expect(sockets).toHaveLength(1)
})

test('what is left of a body that the app has answered without is read and dropped', async () => {
  const { upstream } = await sayingApp((socket) => {
    socket.pause()
    setTimeout(() => socket.write(ok), 200)
  })
  let left = 300
  const body = new Readable({ read: () => void body.push(left-- > 0 ? Buffer.alloc(65_536) : null) })
  const answer = await asked(upstream, { method: 'POST', body, bodyLength: 300 * 65_536 }).response
  expect(answer.status).toBe(200)
  await expect.poll(() => body.readableEnded, { timeout: 10_000 }).toBe(true)
})

test('a connection that the app has closed is not used, and one that it closes under a request is stale', async () => {
  const { upstream, sockets } = await sayingApp((socket, text) =>
    text.startsWith('GET /close') ? socket.destroy() : socket.write(ok),
  )
  await asked(upstream).response
  sockets[0]?.end()
  await once(sockets[0] as Socket, 'close')
  expect((await asked(upstream).response).status).toBe(200)
  expect(sockets).toHaveLength(2)
  expect(await faultOf(asked(upstream, { target: '/close' }).response)).toBe('stale')
  expect(await faultOf(asked(upstream, { target: '/close' }, { fresh: true }).response)).toBe('lost')
})

test('what an app says before its answer is heard in its order, and a connection closed after it is not stale', async () => {
  const { upstream } = await sayingApp((socket, text) => {
    const hints = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'
    if (text.startsWith('GET /cut')) socket.end(hints)
    else socket.write(hints + ok)
  })
  const heard: unknown[] = []
  const recipient = (over: () => void): Recipient => ({
    interim: (status, pairs) => void heard.push(status, pairs),
    answered({ status }) {
      heard.push(status)
      over()
    },
    failed({ fault }) {
      heard.push(fault)
      over()
    },
  })
  for (const target of ['/', '/cut'])
    await new Promise<void>((resolve) => void upstream.send({ ...get, target }, recipient(resolve)))
  const before = [100, [], 103, ['link', '</a>']]
  expect(heard).toEqual([...before, 200, ...before, 'lost'])
})

test('an app that is not there has not seen the request, whose body is not touched', async () => {
  const upstream = new HttpUpstream('/nonexistent/s', limits)
  onTestFinished(() => upstream.close())
  const body = new PassThrough()
  body.end('still here')
  expect(await faultOf(asked(upstream, { method: 'POST', body, bodyLength: 10 }).response)).toBe('unsent')
  expect(String(await buffer(body))).toBe('still here')
})

test('what follows an answer is given to nobody', async () => {
  const { upstream, sockets } = await sayingApp((socket) =>
    socket.write(`${ok}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen`),
  )
  for (let round = 0; round < 5; round++) expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
  expect(sockets).toHaveLength(5)
})

test('bodies go both ways whole, and neither end is sent more than it takes', async () => {
  const size = 30_000_000
  let received = 0
  const upstream = await httpApp((request, response) => {
    if (request.method === 'GET') return void response.end(Buffer.alloc(size, 'down'))
    request.on('data', (chunk: Buffer) => {
      received += chunk.length
      // Slow enough that the other side has to wait.
      request.pause()
      setImmediate(() => request.resume())
    })
    request.on('end', () => response.end(String(received)))
  })
  for (const bodyLength of [size, null]) {
    received = 0
    const body = Readable.from(Array.from({ length: size / 100_000 }, () => Buffer.alloc(100_000, 'up')))
    const { response } = asked(upstream, { method: 'POST', body, bodyLength })
    expect(String(await bodyOf(await response))).toBe(String(size))
  }
  const { body } = await asked(upstream).response
  if (Buffer.isBuffer(body)) throw new Error('it came whole')
  await once(body, 'readable')
  await expect.poll(() => body.readableLength).toBeGreaterThan(0)
  expect(body.readableLength).toBeLessThan(1_000_000)
  const whole = await buffer(body)
  expect(whole.equals(Buffer.alloc(size, 'down'))).toBe(true)
})

test('who aborts ends its own connection alone; after the end that is nothing', async () => {
  const { upstream, sockets } = await sayingApp((socket, text) => {
    if (!text.startsWith('GET /silent')) socket.write(ok)
  })
  const over = asked(upstream)
  await over.response
  const silent = asked(upstream, { target: '/silent' })
  over.abort()
  const neighbour = asked(upstream)
  await neighbour.response
  expect(sockets.map(({ destroyed }) => destroyed)).toEqual([false, false])
  silent.abort()
  await once(sockets[0] as Socket, 'close')
  expect((await asked(upstream).response).status).toBe(200)
  expect(sockets).toHaveLength(2)
})

test('silence before the head is a timeout, and silence in the body cuts it, but not an event stream', async () => {
  const { upstream } = await sayingApp((socket, text) => {
    if (text.startsWith('GET /body')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun')
    if (text.startsWith('GET /events'))
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\nbegun')
  }, impatient)
  const events = await asked(upstream, { target: '/events' }).response
  expect(await faultOf(asked(upstream, { target: '/silent' }).response)).toBe('timeout')
  const cut = await asked(upstream, { target: '/body' }).response
  await expect(bodyOf(cut)).rejects.toMatchObject({ fault: 'timeout' })
  expect((events.body as Readable).destroyed).toBe(false)
})

test('an upload that goes on is not silent', async () => {
  const upstream = await httpApp(
    (request, response) => request.resume().on('end', () => response.end('thanks')),
    impatient,
  )
  const body = new PassThrough()
  const { response } = asked(upstream, { method: 'POST', body, bodyLength: null })
  const drip = setInterval(() => body.write('x'), 100)
  setTimeout(() => {
    clearInterval(drip)
    body.end()
  }, 3 * impatient.headTimeoutMs)
  expect(String(await bodyOf(await response))).toBe('thanks')
})

test('what the app was doing when it ended is lost', async () => {
  const { upstream, sockets } = await sayingApp((socket, text) => {
    if (text.startsWith('GET /body')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun')
  })
  const silent = asked(upstream)
  const begun = await asked(upstream, { target: '/body' }).response
  await expect.poll(() => sockets.length).toBe(2)
  upstream.close()
  expect(await faultOf(silent.response)).toBe('lost')
  await expect(bodyOf(begun)).rejects.toMatchObject({ fault: 'lost' })
})
