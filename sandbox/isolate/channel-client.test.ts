import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { type ChannelCall, ChannelClient } from './channel-client.ts'
import { type Call, serveChannel } from './isolate-channel.ts'
import { FrameWriter, frameLimits, frameType, joinHead, preface } from './isolate-messages.ts'

async function listen(onSocket: (socket: Socket) => void): Promise<{ path: string; server: Server }> {
  const folder = await mkdtemp(join(tmpdir(), 'atl-'))
  const path = join(folder, 's')
  const server = createServer(onSocket)
  await new Promise<void>((listening) => server.listen(path, listening))
  onTestFinished(async () => {
    server.close()
    await rm(folder, { recursive: true })
  })
  return { path, server }
}

/** An isolate that says the preface and then whatever the test says. */
async function clientOf(
  onCall: (call: Call, socket: Socket) => void,
  options: { headTimeoutMs?: number } = {},
): Promise<ChannelClient> {
  const { path } = await listen((socket) => {
    socket.once('data', (first: Buffer) =>
      serveChannel(socket, first.subarray(preface.length), (call) => onCall(call, socket)),
    )
  })
  const client = new ChannelClient(path, options)
  onTestFinished(() => client.close())
  return client
}

async function clientOfHostile(say: (frames: FrameWriter, socket: Socket) => void): Promise<ChannelClient> {
  const { path } = await listen((socket) => {
    socket.on('error', () => socket.destroy())
    socket.write(preface)
    socket.once('data', () => say(new FrameWriter((bytes) => void socket.write(bytes)), socket))
  })
  const client = new ChannelClient(path)
  onTestFinished(() => client.close())
  return client
}

// The number of the first request on a connection.
const first = frameLimits.streams
const get = { method: 'GET', target: '/', pairs: [], body: null }
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((settle) => setImmediate(settle))
}

async function echo(call: Call): Promise<void> {
  call.answer(200, 'OK', call.pairs)
  for (let chunk = await call.read(); chunk; chunk = await call.read()) await call.write(chunk)
  call.end()
}

test('any number of bodies of any size travel side by side, each whole and in order', async () => {
  const client = await clientOf((call) => void echo(call))
  const body = fc.array(fc.oneof(fc.nat({ max: 200 }), fc.integer({ min: 60_000, max: 70_000 })), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(body, fc.nat({ max: 3 })), { minLength: 1, maxLength: 12 }), async (bodies) => {
      await Promise.all(
        bodies.map(async ([sizes, pause], index) => {
          const chunks = sizes.map((size, at) => Buffer.alloc(size, `${index}.${at} `))
          const up = Readable.from(chunks.length > 0 ? chunks : [Buffer.alloc(0)])
          const answer = await client.send({ ...get, method: 'POST', pairs: ['x-n', String(index)], body: up }).response
          expect(answer.pairs).toEqual(['x-n', String(index)])
          const heard: Buffer[] = []
          if (!Buffer.isBuffer(answer.body))
            for await (const chunk of answer.body) {
              heard.push(chunk)
              await turns(pause)
            }
          expect(Buffer.concat(heard).equals(Buffer.concat(chunks))).toBe(true)
        }),
      )
    }),
    { numRuns: 40 },
  )
})

test.each<[string, string, (call: Call) => void]>([
  ['more in one piece', '2', (call) => call.answerWhole(200, '', ['content-length', '2'], Buffer.from('hello'))],
  ['less in one piece', '9', (call) => call.answerWhole(200, '', ['Content-Length', '9'], Buffer.from('hello'))],
  ['no length', 'x', (call) => call.answerWhole(200, '', ['content-length', '0x5'], Buffer.from('hello'))],
  [
    'two lengths',
    '5',
    (call) => call.answerWhole(200, '', ['content-length', '5', 'content-length', '6'], Buffer.from('hello')),
  ],
  ['more in a stream', '2', (call) => streamed(call, '2')],
  ['less in a stream', '9', (call) => streamed(call, '9')],
])('I4: an answer with %s than its content-length says is not passed on', async (_what, _length, answer) => {
  const client = await clientOf((call) =>
    call.target === '/next' ? call.answerWhole(200, '', [], Buffer.from('hi')) : answer(call),
  )
  expect(await failureOf(client.send(get))).toMatchObject({
    fault: 'torn',
    message: expect.stringContaining('content-length'),
  })
  expect(String((await client.send({ ...get, target: '/next' }).response).body)).toBe('hi')
})

test('an answer without a body may name the length it would have', async () => {
  const client = await clientOf((call) =>
    call.answerWhole(call.method === 'HEAD' ? 200 : 304, '', ['content-length', '7']),
  )
  for (const method of ['HEAD', 'GET']) expect(await failureOf(client.send({ ...get, method }))).toBeNull()
})

function streamed(call: Call, length: string): void {
  call.answer(200, '', ['content-length', length])
  void call.write(Buffer.from('hello')).then(() => call.end())
}

test('who does not read is not sent more than the window, and others go on meanwhile', async () => {
  let written = 0
  const client = await clientOf(async (call) => {
    if (call.target === '/small') return call.answerWhole(200, 'OK', [], Buffer.from('hi'))
    call.answer(200, 'OK', [])
    while (!call.isAborted) {
      await call.write(Buffer.alloc(10_000))
      if (!call.isAborted) written += 10_000
    }
  })
  const slow = client.send(get)
  const { body } = await slow.response
  for (let round = 0; round < 50; round++) {
    const small = await client.send({ ...get, target: '/small' }).response
    expect(String(small.body)).toBe('hi')
  }
  // What the reader's own buffer holds was taken, and may be sent again.
  expect(written).toBeLessThanOrEqual(3 * frameLimits.window)
  if (Buffer.isBuffer(body)) throw new Error('it was to be a stream')
  const before = written
  for await (const chunk of body) {
    expect(chunk.length).toBeGreaterThan(0)
    if (written > before + 500_000) break
  }
})

test('a body that the isolate does not read waits at the sender', async () => {
  const calls: Call[] = []
  const client = await clientOf((call) => void calls.push(call))
  const up = new PassThrough({ highWaterMark: 1 })
  client.send({ ...get, method: 'POST', body: up })
  let sent = 0
  while (sent < 10_000_000 && up.writableLength < 100_000) {
    up.write(Buffer.alloc(20_000))
    sent += 20_000
    await turns(3)
  }
  expect(sent).toBeLessThan(500_000)
  let received = 0
  while (received < frameLimits.window) received += (await calls[0]?.read())?.length ?? 0
  await expect.poll(() => up.writableLength).toBeLessThan(100_000)
})

test('an aborted request is aborted at the isolate, and its number is never used again', async () => {
  const aborted: string[] = []
  const client = await clientOf((call) => {
    call.onAbort = () => aborted.push(call.target)
    if (call.target === '/next') call.answerWhole(204, '', [])
  })
  const asked = client.send({ ...get, target: '/given-up' })
  await client.send({ ...get, target: '/next' }).response
  asked.abort()
  asked.abort()
  await expect(asked.response).rejects.toMatchObject({ fault: 'aborted' })
  await expect.poll(() => aborted).toEqual(['/given-up'])
  expect((await client.send({ ...get, target: '/next' }).response).status).toBe('204')
})

test('an isolate that reads nothing is not sent requests without end, however many are given up', async () => {
  const client = await clientOfHostile((_, socket) => socket.pause())
  const long = { ...get, pairs: ['x-long', 'x'.repeat(60_000)] }
  const faults: string[] = []
  const ask = () => client.ask(long, { answered: () => undefined, failed: ({ fault }) => faults.push(fault) })
  for (let round = 0; round < 25; round++) {
    const exchanges = Array.from({ length: 100 }, ask)
    await turns(2)
    for (const exchange of exchanges) exchange.abort()
  }
  expect(faults.length).toBeGreaterThan(1_000)
  expect(new Set(faults)).toEqual(new Set(['unsent']))
})

test('an isolate that says it has read what it has not is not sent a body without end', async () => {
  let isReading = false
  const client = await clientOfHostile((frames, socket) => {
    socket.pause()
    const granting = setInterval(() => {
      for (let frame = 0; frame < 100; frame++) frames.window(first, 0xffff_ffff)
      if (isReading) socket.resume()
    }, 1)
    onTestFinished(() => clearInterval(granting))
  })
  let left = 200_000_000
  const body = new Readable({
    read: () => {
      left -= 65_536
      body.push(left > 0 ? Buffer.alloc(65_536) : null)
    },
  })
  client.ask({ ...get, method: 'POST', body }, { answered: () => undefined, failed: () => undefined })
  await expect.poll(() => left).toBeLessThan(150_000_000)
  for (let quiet = 0, before = left; quiet < 20; quiet = left === before ? quiet + 1 : 0) {
    before = left
    await turns(20)
  }
  expect(left).toBeGreaterThan(100_000_000)
  isReading = true
  await expect.poll(() => left, { timeout: 10_000 }).toBeLessThanOrEqual(0)
})

test('requests in hand are lost with the connection, and the next makes a new one', async () => {
  const sockets: Socket[] = []
  const client = await clientOf((call, socket) => {
    sockets.push(socket)
    if (call.target === '/next') call.answerWhole(200, '', [])
    if (call.target === '/begun') call.answer(200, '', [])
  })
  const asked = [client.send(get), client.send(get)]
  const begun = await client.send({ ...get, target: '/begun' }).response
  sockets[0]?.destroy()
  for (const { response } of asked) await expect(response).rejects.toMatchObject({ fault: 'lost' })
  if (Buffer.isBuffer(begun.body)) throw new Error('it was to be a stream')
  await expect(buffer(begun.body)).rejects.toMatchObject({ fault: 'lost' })
  expect((await client.send({ ...get, target: '/next' }).response).status).toBe('200')
})

test('a request to nobody, or to one who never says the preface, counts as unsent', async () => {
  const nobody = new ChannelClient('/nonexistent/s')
  await expect(nobody.send(get).response).rejects.toMatchObject({ fault: 'unsent' })
  const { path } = await listen((socket) => void socket.once('data', () => socket.destroy()))
  const body = new PassThrough()
  body.write('kept')
  await expect(new ChannelClient(path).send({ ...get, body }).response).rejects.toMatchObject({ fault: 'unsent' })
  expect(String(body.read())).toBe('kept')
})

test.each<[string, (frames: FrameWriter, socket: Socket) => void]>([
  ['data before the response', (frames) => frames.data(first, Buffer.from('x'), false)],
  [
    'more data than the window allows',
    (frames) => {
      frames.head(frameType.response, first, joinHead('200', '', []), { isEnd: false })
      for (let sent = 0; sent < 3 * frameLimits.window; sent += 10_000) frames.data(first, Buffer.alloc(10_000), false)
    },
  ],
  [
    'a second response to one request',
    (frames) => {
      for (const status of ['200', '500'])
        frames.head(frameType.response, first, joinHead(status, '', []), { isEnd: false })
    },
  ],
  ['a frame of type 1 from an isolate', (frames) => frames.head(1, first, joinHead('GET', '/', []), { isEnd: true })],
  ['a head with a name and no value', (frames) => frames.head(2, first, '200\nOK\nname', { isEnd: true })],
  ['a frame of the unknown type', (_frames, socket) => void socket.write(Buffer.alloc(12, 9).fill(0, 0, 4))],
])('an isolate that sends %s loses its connection and nothing else', async (problem, say) => {
  const client = await clientOfHostile(say)
  expect(await failureOf(client.send(get))).toMatchObject({ fault: 'torn', message: expect.stringContaining(problem) })
})

async function failureOf({ response }: ChannelCall): Promise<unknown> {
  try {
    const { body } = await response
    if (!Buffer.isBuffer(body)) await buffer(body)
    return null
  } catch (thrown) {
    return thrown
  }
}

test('an answer that does not begin in time is given up, but not while the request is still being sent', async () => {
  const client = await clientOf(
    async (call) => {
      for (let chunk = await call.read(); chunk; chunk = await call.read());
      if (call.method === 'POST') call.answerWhole(200, 'OK', [])
    },
    // Both ends share one process here: who gets no turn for so long is taken for late.
    { headTimeoutMs: 1_500 },
  )
  const body = new PassThrough()
  const uploading = client.send({ ...get, method: 'POST', body })
  const drip = setInterval(() => body.write('x'), 50)
  expect(await failureOf(client.send(get))).toMatchObject({ fault: 'late' })
  expect(await failureOf(client.send(get))).toMatchObject({ fault: 'late' })
  clearInterval(drip)
  body.end()
  expect((await uploading.response).status).toBe('200')
})
