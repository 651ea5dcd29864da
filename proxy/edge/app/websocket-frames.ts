import { randomBytes } from 'node:crypto'

const closeOpcode = 0x8
const maxHeadBytes = 14

/** Follows the frames in one direction of a WebSocket (RFC 6455 §5.2), chunk by chunk: it knows where they end, and keeps none of them. */
export class FrameWalker {
  readonly #head = Buffer.alloc(maxHeadBytes)
  #headBytes = 0
  #payloadLeft = 0
  #hasClosed = false

  /** Nothing of a frame has been seen without the rest of it. */
  get isBetweenFrames(): boolean {
    return this.#headBytes === 0
  }

  /** A close frame has gone by: nothing may follow it. */
  get hasClosed(): boolean {
    return this.#hasClosed && this.isBetweenFrames
  }

  /** Takes the next bytes. Returns the index just after the first frame that ends in them, or -1 when none does. */
  push(chunk: Buffer): number {
    let firstEnd = -1
    let at = 0
    while (at < chunk.length) {
      at = this.#walk(chunk, at)
      if (firstEnd === -1 && this.isBetweenFrames) firstEnd = at
    }
    return firstEnd
  }

  // To the end of the head, of the payload or of the chunk, whichever comes first.
  #walk(chunk: Buffer, at: number): number {
    if (this.#headBytes < this.#headLength()) {
      this.#head[this.#headBytes++] = chunk[at] ?? 0
      if (this.#headBytes < this.#headLength()) return at + 1
      this.#payloadLeft = this.#payloadLength()
      this.#hasClosed ||= ((this.#head[0] ?? 0) & 0x0f) === closeOpcode
      if (this.#payloadLeft === 0) this.#headBytes = 0
      return at + 1
    }
    const taken = Math.min(this.#payloadLeft, chunk.length - at)
    this.#payloadLeft -= taken
    if (this.#payloadLeft === 0) this.#headBytes = 0
    return at + taken
  }

  #headLength(): number {
    if (this.#headBytes < 2) return 2
    const second = this.#head[1] ?? 0
    const extended = { 126: 2, 127: 8 }[second & 0x7f] ?? 0
    return 2 + extended + (second & 0x80 ? 4 : 0)
  }

  #payloadLength(): number {
    const short = (this.#head[1] ?? 0) & 0x7f
    if (short === 126) return this.#head.readUInt16BE(2)
    // Beyond 2^53 it is not exact, and never over.
    return short === 127 ? Number(this.#head.readBigUInt64BE(2)) : short
  }
}

/** A close frame with a status code and a reason of at most 123 bytes; what goes to a server is masked. */
export function closeFrame(code: number, reason: string, { isMasked }: { isMasked: boolean }): Buffer {
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)])
  const head = [0x80 | closeOpcode, payload.length | (isMasked ? 0x80 : 0)]
  if (!isMasked) return Buffer.concat([Buffer.from(head), payload])
  const mask = randomBytes(4)
  return Buffer.concat([Buffer.from(head), mask, payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))])
}
