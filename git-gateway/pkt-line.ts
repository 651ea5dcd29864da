import { AppError } from '../registry/errors.ts'

// git's framing (gitprotocol-common(5)): four hex digits of length, themselves included, then the payload. Lengths count bytes.

export type Packet = Buffer | 'flush' | 'delimiter' | 'response-end'

export const flushPacket = Buffer.from('0000')
const maxPacket = 65_520
const controls = ['flush', 'delimiter', 'response-end'] as const

/** One packet. Throws INTERNAL when the payload is longer than the 65,516 bytes a packet holds. */
export function packet(payload: string | Buffer): Buffer {
  const bytes = Buffer.from(payload)
  const length = bytes.length + 4
  if (length > maxPacket) throw new AppError('INTERNAL', `a packet of ${length} bytes is too long for git`)
  return Buffer.concat([Buffer.from(length.toString(16).padStart(4, '0')), bytes])
}

/** Bytes on a side band (1 data, 2 text for the person, 3 fatal error), in as many packets as they need. */
export function sideband(band: 1 | 2 | 3, bytes: Buffer): Buffer {
  const room = maxPacket - 5
  const packets: Buffer[] = []
  for (let start = 0; start < bytes.length; start += room) {
    packets.push(packet(Buffer.concat([Buffer.from([band]), bytes.subarray(start, start + room)])))
  }
  return Buffer.concat(packets)
}

/** Splits a stream into packets, however its chunks are cut. */
export class PacketReader {
  #pending: Buffer = Buffer.alloc(0)

  /** Adds bytes and takes the next whole packet, or null when there is none yet. Throws REQUEST_INVALID when it is no pkt-line. */
  push(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
  }

  next(): Packet | null {
    if (this.#pending.length < 4) return null
    const length = lengthOf(this.#pending.toString('latin1', 0, 4))
    const control = controls[length]
    if (control) {
      this.#pending = this.#pending.subarray(4)
      return control
    }
    if (this.#pending.length < length) return null
    const payload = this.#pending.subarray(4, length)
    this.#pending = this.#pending.subarray(length)
    return payload
  }

  /** What has been pushed and not been taken. */
  get rest(): Buffer {
    return this.#pending
  }
}

/** A text payload without its closing newline. */
export function lineOf(payload: Buffer): string {
  const end = payload.at(-1) === 0x0a ? payload.length - 1 : payload.length
  return payload.toString('utf8', 0, end)
}

function lengthOf(digits: string): number {
  const length = /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1
  if (length < 0 || length === 3 || length > maxPacket) {
    throw new AppError('REQUEST_INVALID', `${JSON.stringify(digits)} is not the length of a git packet`)
  }
  return length
}
