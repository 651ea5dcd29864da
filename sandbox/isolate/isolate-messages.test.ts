import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  afterPreface,
  FrameReader,
  FrameWriter,
  frameLimits,
  frameType,
  joinHead,
  ProtocolError,
  preface,
  readWindow,
  splitHead,
} from './isolate-messages.ts'

type Said =
  | { says: 'head'; type: 1 | 2; stream: number; lines: string[]; body: Uint8Array; isEnd: boolean }
  | { says: 'data'; stream: number; chunk: Uint8Array; isEnd: boolean }
  | { says: 'reset'; stream: number; reason: string }
  | { says: 'window'; stream: number; bytes: number }

const stream = fc.nat({ max: 0xffffffff })
// What HTTP allows in a header: latin1 without line ends.
const line = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) })
// Around the sizes at which a chunk is copied, written aside, or fills the arena.
const chunk = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.constantFrom(0, 1, 16_383, 16_384, 16_385, frameLimits.data).map((size) => new Uint8Array(size).fill(size)),
)
const said: fc.Arbitrary<Said> = fc.oneof(
  fc.record({
    says: fc.constant('head' as const),
    type: fc.constantFrom(frameType.request, frameType.response),
    stream,
    lines: fc.array(fc.tuple(line, line), { maxLength: 5 }).map((pairs) => pairs.flat()),
    body: chunk,
    isEnd: fc.boolean(),
  }),
  fc.record({ says: fc.constant('data' as const), stream, chunk, isEnd: fc.boolean() }),
  fc.record({ says: fc.constant('reset' as const), stream, reason: fc.string({ maxLength: 900 }) }),
  fc.record({ says: fc.constant('window' as const), stream, bytes: stream }),
)

test('whatever is said in frames is heard, wherever the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(said, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 70_000 })), (sayings, cuts) => {
      expect(hear(cut(write(sayings), cuts))).toEqual(sayings.map(asHeard))
    }),
    { numRuns: 300 },
  )
})

test('bytes from a hostile end are frames or a protocol error, and nothing else', () => {
  const listen = (bytes: Buffer) => {
    try {
      hear([bytes])
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(ProtocolError)
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => listen(Buffer.from(bytes))),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(
      fc.array(said, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat({ max: 255 }),
      (sayings, at, value) => {
        const bytes = write(sayings)
        bytes[at % bytes.length] = value
        listen(bytes)
      },
    ),
    { numRuns: 1000 },
  )
})

test('a frame that says it is longer than any may be is refused before it is waited for', () => {
  const reader = new FrameReader(() => undefined)
  expect(() => reader.push(Buffer.from([0, 0, 0x10, 0, 3, 0, 0, 0, 1, 0, 0, 0]))).toThrow('a frame of 1048576 bytes')
})

test('a frame that comes byte by byte costs as many copies as it has bytes', () => {
  const bytes = write([{ says: 'data', stream: 1, chunk: new Uint8Array(frameLimits.data), isEnd: true }])
  const concat = Buffer.concat
  let copied = 0
  Buffer.concat = (list, length) => {
    copied += list.reduce((sum, { length }) => sum + length, 0)
    return concat(list, length)
  }
  try {
    expect(hear(cut(bytes, [1]))).toHaveLength(1)
  } finally {
    Buffer.concat = concat
  }
  expect(copied).toBeLessThan(bytes.length + 100)
})

test('the preface is told from other beginnings as soon as it can be', () => {
  expect(afterPreface(Buffer.from(`${preface}rest`))).toEqual(Buffer.from('rest'))
  expect(afterPreface(Buffer.from('ATEL'))).toBeUndefined()
  expect(afterPreface(Buffer.from('GET / HTTP/1.1'))).toBeNull()
})

function write(sayings: Said[]): Buffer {
  const written: Buffer[] = []
  const writer = new FrameWriter((bytes) => written.push(Buffer.from(bytes)))
  for (const one of sayings) {
    if (one.says === 'head') {
      const [first = '', second = '', ...pairs] = ['GET', '/', ...one.lines]
      writer.head(one.type, one.stream, joinHead(first, second, pairs), { isEnd: one.isEnd, body: one.body })
    }
    if (one.says === 'data') writer.data(one.stream, one.chunk, one.isEnd)
    if (one.says === 'reset') writer.reset(one.stream, one.reason)
    if (one.says === 'window') writer.window(one.stream, one.bytes)
  }
  writer.flush()
  return Buffer.concat(written)
}

function cut(bytes: Buffer, sizes: number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % Math.max(1, sizes.length)] ?? bytes.length
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

function hear(pieces: Buffer[]): unknown[] {
  const heard: unknown[] = []
  const reader = new FrameReader((type, stream, isEnd, payload) => {
    if (type === frameType.request || type === frameType.response)
      heard.push({ type, stream, isEnd, ...bytesToText(splitHead(payload)) })
    else if (type === frameType.window) heard.push({ type, stream, bytes: readWindow(payload) })
    else heard.push({ type, stream, isEnd, payload: payload.toString('latin1') })
  })
  for (const piece of pieces) reader.push(piece)
  return heard
}

function bytesToText({ body, ...head }: ReturnType<typeof splitHead>) {
  return { ...head, body: body.toString('latin1') }
}

function asHeard(one: Said): unknown {
  const { stream } = one
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
  if (one.says === 'head')
    return {
      type: one.type,
      stream,
      isEnd: one.isEnd,
      first: 'GET',
      second: '/',
      pairs: one.lines,
      body: text(one.body),
    }
  if (one.says === 'data') return { type: frameType.data, stream, isEnd: one.isEnd, payload: text(one.chunk) }
  if (one.says === 'window') return { type: frameType.window, stream, bytes: one.bytes }
  return { type: frameType.reset, stream, isEnd: true, payload: text(Buffer.from(one.reason)) }
}
