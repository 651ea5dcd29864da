import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer, type RequestListener, type ServerResponse } from 'node:http'
import { createServer, type Server as NetServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { LaneSocket } from '../../../sandbox/isolate/isolate-lane.ts'
import { lanesTo } from '../../../sandbox/isolate/isolate-lanes.ts'
import { frameLimits, frameType, preface } from '../../../sandbox/isolate/isolate-messages.ts'
import { lanesPath } from '../../../sandbox/isolate/lanes-path.ts'
import { HttpUpstream } from './http-upstream.ts'
import type { UpstreamError, UpstreamRequest, UpstreamResponse } from './upstream.ts'

const limits = { headTimeoutMs: 60_000, idleTimeoutMs: 60_000, maxBodyBytes: 100_000_000 }
const get: UpstreamRequest = {
  method: 'GET',
  target: '/',
  headers: ['host', 'a'],
  body: Readable.from([]),
  bodyLength: 0,
}

async function place(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'atl-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 's')
}

/** An app's server as its host listens for it, and the edge's way to it, with `open` lanes. */
async function laneApp(onRequest: RequestListener, { open = 1, given = limits } = {}) {
  const path = await place()
  const gathering: ServerResponse[] = []
  const server = createHttpServer((request, response) => {
    if (request.url === '/gather') gathering.push(response)
    else onRequest(request, response)
  })
  const lanes = lanesTo(server)
  await once(server.listen(path), 'listening')
  await once(lanes.listen(lanesPath(path)), 'listening')
  const upstream = new HttpUpstream(path, given, 'lanes')
  onTestFinished(() => {
    upstream.close()
    lanes.close()
    server.close()
    server.closeAllConnections()
  })
  // Each that finds no lane takes a socket, and has a lane opened for those who come later.
  for (let ready = 0; ready < open; ) {
    const together = Array.from({ length: open }, () => asked(upstream, { target: '/gather' }).response)
    await expect.poll(() => gathering.length).toBe(open)
    ready = gathering.filter(({ socket }) => socket instanceof LaneSocket).length
    for (const response of gathering.splice(0)) response.end('here')
    await Promise.all(together)
  }
  return { upstream, server, lanes }
}

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

const connectionsOf = (server: { getConnections: NetServer['getConnections'] }) =>
  new Promise<number>((settle) => server.getConnections((_, connections) => settle(connections)))

function post(body: Buffer, bodyLength: number | null = body.length): Partial<UpstreamRequest> {
  return { method: 'POST', body: Readable.from(body.length > 0 ? [body] : []), bodyLength }
}

test('many connections of one edge are lanes on one socket, and to the app sockets like any other', async () => {
  const seen = new Set<unknown>()
  const { upstream, server, lanes } = await laneApp(
    ({ socket }, response) => {
      seen.add(socket)
      setImmediate(() => response.end(`${socket instanceof Socket} ${socket.readyState} ${socket.pending}`))
    },
    { open: 20 },
  )
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => asked(upstream).response))
    for (const answer of answers) expect(String(await bodyOf(answer))).toBe('true open false')
  }
  expect([...seen].every((socket) => socket instanceof LaneSocket)).toBe(true)
  expect(seen.size).toBe(20)
  expect(await connectionsOf(lanes)).toBe(1)
  expect(await connectionsOf(server)).toBeGreaterThanOrEqual(20)
})

test('bodies of every size arrive whole side by side, small ones on lanes and large ones beside them', async () => {
  const onLane = new Map<number, boolean>()
  const { upstream } = await laneApp(
    async (request, response) => {
      const body = await buffer(request)
      onLane.set(body.length, request.socket instanceof LaneSocket)
      response.write(body.subarray(0, body.length / 2))
      setImmediate(() => response.end(body.subarray(body.length / 2)))
    },
    { open: 8 },
  )
  const sizes = fc.oneof(fc.nat(2_000), fc.integer({ min: 60_000, max: 70_000 }), fc.nat(400_000))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(sizes, fc.boolean()), { minLength: 1, maxLength: 8 }), async (bodies) => {
      const sent = bodies.map(([size]) => Buffer.alloc(size, `${size} `))
      const answers = await Promise.all(
        sent.map((body, index) => asked(upstream, post(body, bodies[index]?.[1] ? null : body.length)).response),
      )
      for (const [index, answer] of answers.entries())
        expect((await bodyOf(answer)).equals(sent[index] ?? Buffer.alloc(0))).toBe(true)
    }),
    { numRuns: 60 },
  )
  await asked(upstream, post(Buffer.alloc(65_536))).response.then(bodyOf)
  await asked(upstream, post(Buffer.alloc(65_537))).response.then(bodyOf)
  expect([onLane.get(65_536), onLane.get(65_537)]).toEqual([true, false])
})

test('who reads slowly holds back its own lane alone', async () => {
  let held: ServerResponse | null = null
  const { upstream } = await laneApp(
    (request, response) => {
      if (request.url !== '/big') return void response.end('ok')
      held = response
      response.end(Buffer.alloc(10_000_000, 'down'))
    },
    { open: 2 },
  )
  const { body } = await asked(upstream, { target: '/big' }).response
  if (Buffer.isBuffer(body)) throw new Error('it came whole')
  await expect.poll(() => body.readableLength).toBeGreaterThan(0)
  for (let round = 0; round < 20; round++) expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
  expect(held).toMatchObject({ writableFinished: false, socket: expect.any(LaneSocket) })
  expect(body.readableLength).toBeLessThanOrEqual(2 * frameLimits.window)
  expect((await buffer(body)).equals(Buffer.alloc(10_000_000, 'down'))).toBe(true)
})

test('who gives up is seen by the app, and nothing that still comes of it is given to the next', async () => {
  const begun: ServerResponse[] = []
  const { upstream } = await laneApp((request, response) => {
    if (request.url !== '/silent') return void response.end(request.url)
    begun.push(response)
  })
  for (let round = 0; round < 5; round++) {
    const silent = asked(upstream, { target: '/silent' })
    await expect.poll(() => begun.length).toBe(1)
    const [response] = begun.splice(0)
    if (!response) throw new Error('it did not come')
    // On its way back while the edge gives up.
    const closed = once(response, 'close')
    response.write('too late')
    silent.abort()
    const answers = await Promise.all(['/a', '/b'].map((target) => asked(upstream, { target }).response.then(bodyOf)))
    expect(answers.map(String)).toEqual(['/a', '/b'])
    await closed
  }
})

test('an answer that ends its connection ends a lane, and one that is cut is lost', async () => {
  const { upstream } = await laneApp(
    (request, response) => {
      if (request.url === '/last') return void response.writeHead(200, { connection: 'close' }).end('bye')
      if (request.url !== '/cut') return void response.end('ok')
      response.writeHead(200, { 'content-length': 10 })
      response.write('part', () => request.socket.destroy())
    },
    { open: 3 },
  )
  expect(String(await bodyOf(await asked(upstream, { target: '/last' }).response))).toBe('bye')
  await expect(asked(upstream, { target: '/cut' }).response.then(bodyOf)).rejects.toMatchObject({ fault: 'lost' })
  expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
})

test('a lane that the app closes under a request is stale, and the request may go again beside the lanes', async () => {
  const { upstream } = await laneApp(({ socket }) => void socket.destroy())
  expect(await faultOf(asked(upstream).response)).toBe('stale')
  expect(await faultOf(asked(upstream, {}, { fresh: true }).response)).toBe('lost')
})

test('a server that closes waits for what is on its lanes, and gets no more', async () => {
  const held: ServerResponse[] = []
  const { upstream, server } = await laneApp((_, response) => void held.push(response), { open: 2 })
  const slow = asked(upstream)
  await expect.poll(() => held.length).toBe(1)
  let isClosed = false
  server.close(() => {
    isClosed = true
  })
  // The lane that was free has been closed, as free connections are.
  await expect.poll(() => faultOf(asked(upstream).response)).toBe('unsent')
  expect(isClosed).toBe(false)
  held[0]?.end('the last')
  expect(String(await bodyOf(await slow.response))).toBe('the last')
  server.closeIdleConnections()
  await expect.poll(() => isClosed).toBe(true)
})

test('connections that the app looks at itself are sockets of their own', async () => {
  const { upstream, server } = await laneApp(({ socket }, response) => response.end(socket.constructor.name), {
    open: 2,
  })
  expect(String(await bodyOf(await asked(upstream).response))).toBe('LaneSocket')
  server.on('connection', () => undefined)
  const answers = async () =>
    Promise.all(Array.from({ length: 12 }, () => asked(upstream).response.then(bodyOf).then(String)))
  const first = await answers()
  expect(first.filter((name) => name === 'LaneSocket').length).toBeLessThanOrEqual(2)
  expect(await answers()).toContain('Socket')
})

test('a time for silence that the app has set counts from the last byte', async () => {
  let drip: NodeJS.Timeout
  const { upstream } = await laneApp((request, response) => {
    response.setTimeout(2_000, () => response.end(' silent'))
    drip = setInterval(() => response.write('x'), 50)
    if (request.url === '/short') setTimeout(() => clearInterval(drip), 100)
    else
      setTimeout(() => {
        clearInterval(drip)
        response.end(' whole')
      }, 3_000)
  })
  const answer = async (target: string) => String(await bodyOf(await asked(upstream, { target }).response))
  expect(await answer('/short')).toMatch(/^x+ silent$/)
  expect(await answer('/long')).toMatch(/^x+ whole$/)
})

// What a host sends is the app's word; what is broken costs the socket, and the requests on it.
test('no frames of a hostile host bring the edge down, or an answer to another request', async () => {
  const types = fc.constantFrom(...Object.values(frameType))
  const frames = fc.array(
    fc.oneof(
      fc.record({
        type: types,
        place: fc.nat(3),
        use: fc.nat(2),
        isEnd: fc.boolean(),
        text: fc.string({ maxLength: 60 }),
      }),
      fc.uint8Array({ maxLength: 40 }),
    ),
    { maxLength: 20 },
  )
  await fc.assert(
    fc.asyncProperty(frames, async (said) => {
      const path = await hostileHost((socket) => {
        for (const one of said)
          socket.write(
            one instanceof Uint8Array ? one : frameOf(one.type, numberOf(one.place, one.use), one.text, one.isEnd),
          )
      })
      const upstream = new HttpUpstream(path, limits, 'lanes')
      const answers: Promise<string>[] = []
      for (let round = 0; round < 4; round++) {
        answers.push(
          asked(upstream)
            .response.then(bodyOf)
            .then(String, ({ fault }) => fault),
        )
        await new Promise((settle) => setImmediate(settle))
      }
      await new Promise((settle) => setTimeout(settle, 5))
      upstream.close()
      for (const answer of answers) expect(['beside', 'lost', 'stale', 'unsent', 'invalid']).toContain(await answer)
    }),
    { numRuns: 100 },
  )
})

const head = 'HTTP/1.1 200 OK\r\n\r\n'
const accepted = () => frameOf(frameType.response, numberOf(0, 1))
test.each<[string, Buffer[][]]>([
  ['speaks before it has taken the lane', [[frameOf(frameType.data, numberOf(0, 1), head)]]],
  ['takes a lane twice', [[accepted(), accepted()]]],
  [
    'sends more than its window',
    [[accepted()], [head, Buffer.alloc(frameLimits.data)].map((text) => frameOf(frameType.data, numberOf(0, 1), text))],
  ],
])('a host that %s loses its lanes, and is asked beside them', async (_, says) => {
  let isClosed = false
  const path = await hostileHost((socket) => {
    socket.on('close', () => {
      isClosed = true
    })
    for (const frame of says[0] ?? []) socket.write(frame)
    socket.once('data', () => {
      for (const frame of says[1] ?? []) socket.write(frame)
    })
  })
  const upstream = new HttpUpstream(path, limits, 'lanes')
  onTestFinished(() => upstream.close())
  const askOnce = async () => {
    await asked(upstream).response.catch(() => undefined)
    return isClosed
  }
  await expect.poll(askOnce).toBe(true)
  expect(String(await bodyOf(await asked(upstream).response))).toBe('beside')
})

test('no frames of a broken edge bring an app down', async () => {
  const { upstream, server } = await laneApp((_, response) => response.end('ok'))
  const path = lanesPath(String(server.address()))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }), async (chunks) => {
      const socket = new Socket().connect(path)
      socket.on('error', () => undefined).resume()
      for (const chunk of chunks) socket.write(chunk)
      socket.write(frameOf(frameType.request, numberOf(1, 1)))
      socket.end(frameOf(frameType.data, numberOf(1, 1), 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'))
      await once(socket, 'close')
    }),
    { numRuns: 60 },
  )
  expect(String(await bodyOf(await asked(upstream).response))).toBe('ok')
})

function numberOf(place: number, use: number): number {
  return use * frameLimits.streams + place
}

function frameOf(type: number, number: number, payload: string | Uint8Array = '', isEnd = false): Buffer {
  const bytes = Buffer.from(payload)
  const header = Buffer.alloc(12)
  header.writeUInt32LE(bytes.length, 0)
  header[4] = type
  header[5] = isEnd ? 1 : 0
  header.writeUInt32LE(number, 8)
  return Buffer.concat([header, bytes])
}

/** Says the preface and then what the test says when it is first written to; its server beside answers all requests. */
async function hostileHost(onFirst: (socket: Socket) => void): Promise<string> {
  const path = await place()
  const beside = createHttpServer((_, response) => response.end('beside'))
  const lanes = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.write(preface)
    socket.once('data', () => onFirst(socket)).resume()
  })
  await once(beside.listen(path), 'listening')
  await once(lanes.listen(lanesPath(path)), 'listening')
  onTestFinished(() => {
    beside.close()
    beside.closeAllConnections()
    lanes.close()
  })
  return path
}
