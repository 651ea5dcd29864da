// The words of the isolate channel: docs/isolate-channel.md. Both ends use this file; one of them is in a sandbox, so node builtins only.

/** What both ends say first. An isolate that has said it is there: what came before it was accepted may be sent again elsewhere. */
export const preface = 'ATELIER/1\n'

/** What is left of the first bytes of a connection when they are the preface; null: they are not; undefined: too few to tell. */
export function afterPreface(bytes: Buffer): Buffer | null | undefined {
  const said = bytes.toString('latin1', 0, preface.length)
  if (said === preface) return bytes.subarray(preface.length)
  return preface.startsWith(said) ? undefined : null
}

export const frameType = { request: 1, response: 2, data: 3, reset: 4, window: 5 } as const
export type FrameType = (typeof frameType)[keyof typeof frameType]

/** On request, response and data: the sender's side of the stream ends with this frame. */
export const endFlag = 1

/** Bytes, but for `streams`. A frame over these, or data beyond the window, ends the connection. */
export const frameLimits = { head: 65_536, data: 65_536, window: 65_536, streams: 1024 } as const

const headerBytes = 12
const largestPayload = 4 + frameLimits.head + frameLimits.data

export class ProtocolError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ProtocolError'
  }
}

export type Frame = { type: FrameType; stream: number; isEnd: boolean; payload: Buffer }

/** Finds the frames in a stream of bytes, however it is cut; a frame's payload lives as long as the chunk it came in. */
export class FrameReader {
  readonly #onFrame: (type: FrameType, stream: number, isEnd: boolean, payload: Buffer) => void
  #rest: Buffer[] = []
  #restBytes = 0
  /** Bytes that the frame begun in `#rest` takes, as far as is known. */
  #needed = headerBytes

  constructor(onFrame: (type: FrameType, stream: number, isEnd: boolean, payload: Buffer) => void) {
    this.#onFrame = onFrame
  }

  /** Throws ProtocolError; nothing may be pushed after that. What `onFrame` throws comes out, too. */
  push(chunk: Buffer): void {
    let bytes = chunk
    if (this.#restBytes > 0) {
      this.#keep(chunk)
      if (this.#restBytes < this.#needed) return
      bytes = Buffer.concat(this.#rest)
      this.#rest = []
      this.#restBytes = 0
    }
    let at = 0
    this.#needed = headerBytes
    while (bytes.length - at >= headerBytes) {
      const length = bytes.readUInt32LE(at)
      if (length > largestPayload) throw new ProtocolError(`a frame of ${length} bytes`)
      if (bytes.length - at < headerBytes + length) {
        this.#needed = headerBytes + length
        break
      }
      const type = readType(bytes[at + 4])
      const payload = bytes.subarray(at + headerBytes, at + headerBytes + length)
      this.#onFrame(type, bytes.readUInt32LE(at + 8), bytes[at + 5] === endFlag, payload)
      at += headerBytes + length
    }
    if (at < bytes.length) this.#keep(bytes.subarray(at))
  }

  #keep(bytes: Buffer): void {
    this.#rest.push(bytes)
    this.#restBytes += bytes.length
  }
}

function readType(byte: number | undefined): FrameType {
  if (byte === undefined || byte < frameType.request || byte > frameType.window)
    throw new ProtocolError(`a frame of the unknown type ${byte}`)
  return byte as FrameType
}

/** As node's streams hand on what was written. */
export type Piece = { chunk: string | Uint8Array; encoding: BufferEncoding }

const arenaBytes = 262_144
// Above this, copying a chunk costs more than a write of its own.
const largestCopied = 16_384

/** Puts frames one behind the other and writes them together: once for all that is said in one turn of the event loop. */
export class FrameWriter {
  readonly #write: (bytes: Buffer) => void
  #arena = Buffer.allocUnsafeSlow(arenaBytes)
  #from = 0
  #to = 0
  #isScheduled = false

  constructor(write: (bytes: Buffer) => void) {
    this.#write = write
  }

  /** `lines` is what `joinHead` made; `body` goes in the same frame and is at most `frameLimits.data` long. */
  head(type: 1 | 2, stream: number, lines: string, { isEnd, body }: { isEnd: boolean; body?: Uint8Array }): void {
    const bodyBytes = body?.byteLength ?? 0
    const isCopied = bodyBytes <= largestCopied
    const at = this.#reserve(headerBytes + 4 + lines.length + (isCopied ? bodyBytes : 0))
    this.#header(at, { length: 4 + lines.length + bodyBytes, type, stream, isEnd })
    this.#arena.writeUInt32LE(lines.length, at + headerBytes)
    this.#arena.write(lines, at + headerBytes + 4, 'latin1')
    if (!body) return
    if (isCopied) this.#arena.set(body, at + headerBytes + 4 + lines.length)
    else this.#writeAside(body)
  }

  /** Data made of several pieces, `bytes` long together: at most `frameLimits.data`. */
  pieces(stream: number, pieces: readonly Piece[], bytes: number): void {
    let at = this.#reserve(headerBytes + bytes)
    this.#header(at, { length: bytes, type: frameType.data, stream, isEnd: false })
    at += headerBytes
    for (const { chunk, encoding } of pieces) {
      if (typeof chunk === 'string') at += this.#arena.write(chunk, at, encoding)
      else {
        this.#arena.set(chunk, at)
        at += chunk.byteLength
      }
    }
  }

  /** Data that is text in Latin-1, at most `frameLimits.data` long. */
  text(stream: number, text: string): void {
    const at = this.#reserve(headerBytes + text.length)
    this.#header(at, { length: text.length, type: frameType.data, stream, isEnd: false })
    this.#arena.write(text, at + headerBytes, 'latin1')
  }

  /** A frame that says no more than its type. */
  bare(type: 1 | 2, stream: number): void {
    this.#header(this.#reserve(headerBytes), { length: 0, type, stream, isEnd: false })
  }

  /** `chunk` is at most `frameLimits.data` long. */
  data(stream: number, chunk: Uint8Array, isEnd: boolean): void {
    const isCopied = chunk.byteLength <= largestCopied
    const at = this.#reserve(headerBytes + (isCopied ? chunk.byteLength : 0))
    this.#header(at, { length: chunk.byteLength, type: frameType.data, stream, isEnd })
    if (isCopied) this.#arena.set(chunk, at + headerBytes)
    else this.#writeAside(chunk)
  }

  /** Nothing more of this stream is wanted or will come. */
  reset(stream: number, reason: string): void {
    const text = Buffer.from(reason.slice(0, 1000))
    const at = this.#reserve(headerBytes + text.length)
    this.#header(at, { length: text.length, type: frameType.reset, stream, isEnd: true })
    this.#arena.set(text, at + headerBytes)
  }

  /** The other end may send this many bytes more. */
  window(stream: number, bytes: number): void {
    const at = this.#reserve(headerBytes + 4)
    this.#header(at, { length: 4, type: frameType.window, stream, isEnd: false })
    this.#arena.writeUInt32LE(bytes, at + headerBytes)
  }

  flush(): void {
    if (this.#to === this.#from) return
    const bytes = this.#arena.subarray(this.#from, this.#to)
    this.#from = this.#to
    this.#write(bytes)
  }

  // What is written is not written over: a socket may hold it for a while.
  #reserve(bytes: number): number {
    if (this.#to + bytes > this.#arena.length) {
      this.flush()
      this.#arena = Buffer.allocUnsafeSlow(Math.max(arenaBytes, bytes))
      this.#from = this.#to = 0
    }
    const at = this.#to
    this.#to += bytes
    if (!this.#isScheduled) {
      this.#isScheduled = true
      setImmediate(this.#onTurn)
    }
    return at
  }

  #header(
    at: number,
    { length, type, stream, isEnd }: { length: number; type: FrameType; stream: number; isEnd: boolean },
  ): void {
    const arena = this.#arena
    arena.writeUInt32LE(length, at)
    arena[at + 4] = type
    arena[at + 5] = isEnd ? endFlag : 0
    arena[at + 6] = 0
    arena[at + 7] = 0
    arena.writeUInt32LE(stream, at + 8)
  }

  #writeAside(chunk: Uint8Array): void {
    this.flush()
    this.#write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
  }

  readonly #onTurn = () => {
    this.#isScheduled = false
    this.flush()
  }
}

/**
 * The head of a message as lines: `GET`, `/path?query`, or `200`, `OK`; then a name and a value by turns. One string, for taking one string
 * out of a buffer and splitting it is several times as fast as taking out forty. A character above U+00FF, or a line feed, cannot be said.
 */
export function joinHead(first: string, second: string, pairs: readonly string[]): string {
  return pairs.length === 0 ? `${first}\n${second}` : `${first}\n${second}\n${pairs.join('\n')}`
}

export type Head = { first: string; second: string; pairs: string[]; body: Buffer }

/** Takes the payload of a request or response apart. Throws ProtocolError. */
export function splitHead(payload: Buffer): Head {
  const length = payload.length < 4 ? -1 : payload.readUInt32LE(0)
  if (length < 0 || length > frameLimits.head || 4 + length > payload.length) throw new ProtocolError('a torn head')
  const pairs = payload.toString('latin1', 4, 4 + length).split('\n')
  const [first = '', second] = pairs
  if (second === undefined || pairs.length % 2 === 1) throw new ProtocolError('a head with a name and no value')
  return { first, second, pairs: pairs.slice(2), body: payload.subarray(4 + length) }
}

/** Throws ProtocolError. */
export function readWindow(payload: Buffer): number {
  if (payload.length !== 4) throw new ProtocolError('a torn window')
  return payload.readUInt32LE(0)
}
