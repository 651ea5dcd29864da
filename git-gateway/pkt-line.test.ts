import fc from 'fast-check'
import { expect, test } from 'vitest'
import { flushPacket, lineOf, type Packet, PacketReader, packet, sideband } from './pkt-line.ts'

test('packets are read back as they were written, however the stream is cut', () => {
  const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 })
  fc.assert(
    fc.property(payloads, fc.integer({ min: 1, max: 64 }), (parts, step) => {
      const stream = Buffer.concat([...parts.map((part) => packet(Buffer.from(part))), flushPacket])
      const read = readAll(stream, step)
      expect(read).toEqual([...parts.map((part) => Buffer.from(part)), 'flush'])
    }),
  )
})

test('lengths count bytes, not characters', () => {
  expect(packet('✓\n').toString()).toBe('0008✓\n')
})

test('text over 65,515 bytes travels in several side-band packets', () => {
  const text = Buffer.from('é'.repeat(70_000))
  const read = readAll(sideband(2, text), 4096)
  expect(read).toHaveLength(3)
  expect(Buffer.concat(read.map((one) => (Buffer.isBuffer(one) ? one.subarray(1) : Buffer.alloc(0))))).toEqual(text)
})

test.each(['zzzz', '0003', 'fff1', '-001', '0x10', '\n\n\n\n'])('%j is refused as a length', (digits) => {
  expect(() => readAll(Buffer.from(`${digits}payload`), 64)).toThrow('not the length of a git packet')
})

test('a packet that is not whole yet is waited for', () => {
  const reader = new PacketReader()
  reader.push(Buffer.from('000bhel'))
  expect(reader.next()).toBeNull()
  reader.push(Buffer.from('lo\n'))
  expect(reader.next()).toBeNull()
  reader.push(Buffer.from('!'))
  expect(String(reader.next())).toBe('hello\n!')
})

test('a line loses one closing newline and nothing else', () => {
  expect(lineOf(Buffer.from('a\n\n'))).toBe('a\n')
  expect(lineOf(Buffer.from('a'))).toBe('a')
})

function readAll(stream: Buffer, step: number): Packet[] {
  const reader = new PacketReader()
  const packets: Packet[] = []
  for (let start = 0; start < stream.length; start += step) {
    reader.push(stream.subarray(start, start + step))
    for (let next = reader.next(); next !== null; next = reader.next()) packets.push(next)
  }
  return packets
}
