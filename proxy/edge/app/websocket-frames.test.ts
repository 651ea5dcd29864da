import fc from 'fast-check'
import { expect, test } from 'vitest'
import { closeFrame, FrameWalker } from './websocket-frames.ts'

/** A frame as RFC 6455 §5.2 writes it, with the shortest length or a longer one. */
function frame({
  opcode,
  size,
  mask,
  length,
}: {
  opcode: number
  size: number
  mask: boolean
  length: 0 | 2 | 8
}): Buffer {
  const longer = size > 0xffff ? 8 : size > 125 ? Math.max(length, 2) : length
  const first = Buffer.from([0x80 | opcode, (longer === 0 ? size : longer === 2 ? 126 : 127) | (mask ? 0x80 : 0)])
  const extended = Buffer.alloc(longer)
  if (longer === 2) extended.writeUInt16BE(size)
  if (longer === 8) extended.writeBigUInt64BE(BigInt(size))
  return Buffer.concat([first, extended, Buffer.alloc(mask ? 4 : 0, 0xff), Buffer.alloc(size, 0x88)])
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    size: fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 0xffff, 0x10000)),
    mask: fc.boolean(),
    length: fc.constantFrom(0 as const, 2 as const, 8 as const),
  }),
  { minLength: 1, maxLength: 8 },
)

test('wherever the stream is cut into chunks, the ends of its frames are found, and only those', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.nat(1_000_000), { maxLength: 12 }), (given, cuts) => {
      const written = given.map(frame)
      const stream = Buffer.concat(written)
      const ends: number[] = []
      for (const { length } of written) ends.push((ends.at(-1) ?? 0) + length)
      const edges = [...new Set([0, stream.length, ...cuts.map((cut) => cut % stream.length)])].sort((a, b) => a - b)

      const walker = new FrameWalker()
      for (const [index, from] of edges.slice(0, -1).entries()) {
        const to = edges[index + 1] ?? 0
        const first = ends.find((end) => end > from && end <= to)
        expect(walker.push(stream.subarray(from, to))).toBe(first === undefined ? -1 : first - from)
        expect(walker.isBetweenFrames).toBe(ends.includes(to))
        expect(walker.hasClosed).toBe(false)
      }
    }),
  )
})

test('a close frame is one whole frame that says why, masked or not', () => {
  for (const isMasked of [false, true]) {
    const bytes = closeFrame(1012, 'the app is restarted', { isMasked })
    const walker = new FrameWalker()
    expect(walker.push(bytes.subarray(0, 5))).toBe(-1)
    expect(walker.hasClosed).toBe(false)
    expect(walker.push(bytes.subarray(5))).toBe(bytes.length - 5)
    expect(walker.hasClosed).toBe(true)
    const [mask, payload] = isMasked ? [bytes.subarray(2, 6), bytes.subarray(6)] : [Buffer.alloc(4), bytes.subarray(2)]
    const plain = Buffer.from(payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0)))
    expect(plain.readUInt16BE(0)).toBe(1012)
    expect(plain.subarray(2).toString()).toBe('the app is restarted')
  }
})

test('bytes that are no frames are walked to the end', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => {
      const walker = new FrameWalker()
      for (const chunk of chunks) {
        const end = walker.push(Buffer.from(chunk))
        expect(end === -1 || (end > 0 && end <= chunk.length)).toBe(true)
      }
    }),
  )
})
