import { createHash } from 'node:crypto'
import { constants, deflateRawSync, deflateSync } from 'node:zlib'

// Packs that git would never make (gitformat-pack(5)).

const types = { commit: 1, tree: 2, blob: 3, difference: 6 } as const
const copyAtMost = 0xffff00

/** An object of a pack as it is stored. */
export type Packed = Buffer

/** A pack of these objects. */
export function packOf(objects: Packed[], count = objects.length): Buffer {
  const head = Buffer.alloc(12)
  head.write('PACK')
  head.writeUInt32BE(2, 4)
  head.writeUInt32BE(count, 8)
  const bytes = Buffer.concat([head, ...objects])
  return Buffer.concat([bytes, createHash('sha1').update(bytes).digest()])
}

export function packed(type: 'commit' | 'tree' | 'blob', content: Buffer): Packed {
  return Buffer.concat([headOf(type, content.length), deflateSync(content)])
}

/** A blob of zeros in a thousandth of its size, without ever having it whole. */
export function packedZeros(size: number): Packed {
  const step = 16 * 1_048_576
  const block = deflateRawSync(Buffer.alloc(step), { finishFlush: constants.Z_FULL_FLUSH, level: 9 })
  const blocks = Array.from({ length: Math.floor(size / step) }, () => block)
  // Adler-32 of n zeros.
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE((size % 65_521) * 65_536 + 1)
  const rest = deflateRawSync(Buffer.alloc(size % step))
  return Buffer.concat([headOf('blob', size), Buffer.from([0x78, 0x9c]), ...blocks, rest, checksum])
}

/** `base` and a chain of differences, each to the one before and a byte longer. */
export function packedChain(base: Packed, size: number, length: number): Packed[] {
  const chain = [base]
  for (let index = 0; index < length; index++) {
    const difference = appendOne(size + index)
    const back = offsetOf(chain.at(-1)?.length ?? 0)
    chain.push(Buffer.concat([headOf('difference', difference.length), back, deflateSync(difference)]))
  }
  return chain
}

/** The name git gives an object. */
export function shaOf(type: 'commit' | 'tree' | 'blob', content: Buffer): string {
  return createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex')
}

/** The name of a blob of zeros. */
export function shaOfZeros(size: number): string {
  const hash = createHash('sha1').update(`blob ${size}\0`)
  const step = Buffer.alloc(16 * 1_048_576)
  for (let left = size; left > 0; left -= step.length) hash.update(left < step.length ? step.subarray(0, left) : step)
  return hash.digest('hex')
}

export type Entry = { mode: '100644' | '40000' | '120000' | '160000'; name: string | Buffer; sha: string }

/** The content of a tree object, its entries in the order given. */
export function treeOf(entries: Entry[]): Buffer {
  return Buffer.concat(
    entries.flatMap(({ mode, name, sha }) => [
      Buffer.from(`${mode} `),
      Buffer.from(name),
      Buffer.from([0]),
      Buffer.from(sha, 'hex'),
    ]),
  )
}

export function commitOf(tree: string, message = 'change', person = 'Ada <ada@example.com> 1700000000 +0000'): Buffer {
  return Buffer.from(`tree ${tree}\nauthor ${person}\ncommitter ${person}\n\n${message}\n`)
}

function headOf(type: keyof typeof types, size: number): Buffer {
  const bytes: number[] = []
  let byte = types[type] * 16 + (size % 16)
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
    bytes.push(byte | 0x80)
    byte = rest % 128
  }
  return Buffer.from([...bytes, byte])
}

function appendOne(size: number): Buffer {
  const copies: Buffer[] = []
  for (let at = 0; at < size; at += copyAtMost) copies.push(copyOf(at, Math.min(copyAtMost, size - at)))
  return Buffer.concat([varint(size), varint(size + 1), ...copies, Buffer.from([1, 0x78])])
}

function copyOf(offset: number, size: number): Buffer {
  const bytes = [...littleEndian(offset, 4), ...littleEndian(size, 3)]
  const flags = bytes.reduce((all, byte, index) => (byte > 0 ? all | (1 << index) : all), 0x80)
  return Buffer.from([flags, ...bytes.filter((byte) => byte > 0)])
}

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) % 256)
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return Buffer.from([...bytes, rest])
}

function offsetOf(distance: number): Buffer {
  const bytes = [distance % 128]
  for (let rest = Math.floor(distance / 128); rest > 0; rest = Math.floor(rest / 128)) {
    rest -= 1
    bytes.unshift((rest % 128) | 0x80)
  }
  return Buffer.from(bytes)
}
