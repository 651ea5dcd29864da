// One connection of the edge's to the app's own HTTP server, on a socket that carries many: docs/lanes.md. Node builtins only.
import { Socket } from 'node:net'
import { type FrameWriter, frameLimits, type Piece } from './isolate-messages.ts'

export type LaneDeps = {
  frames: FrameWriter
  /** Something has been put into `frames`. */
  onSaid: () => void
  onGone: (lane: LaneSocket) => void
}

/**
 * To the app a socket like any other: it is one of node:net's, only without a descriptor. What comes is bounded by the edge (a request at a
 * time, with no more than `frameLimits.data` of body), what goes by what the edge says it has room for.
 */
export class LaneSocket extends Socket {
  readonly number: number
  readonly #deps: LaneDeps
  /** Bytes the edge takes before it says more. */
  #credit: number = frameLimits.window
  /** What the edge has no room for yet, and whom to tell when it had. */
  #left: { bytes: Buffer; done: () => void } | null = null
  #isGone = false
  #bytesIn = 0
  #bytesOut = 0

  static {
    // Accessors in node:net, too, which its types do not say.
    const of = (read: (lane: LaneSocket) => unknown) => ({ configurable: true, get: readsItself(read) })
    Object.defineProperties(LaneSocket.prototype, {
      pending: of(() => false),
      bytesRead: of((lane) => lane.#bytesIn),
      bytesWritten: of((lane) => lane.#bytesOut + lane.writableLength),
    })
  }

  constructor(number: number, deps: LaneDeps) {
    super({ allowHalfOpen: true })
    this.number = number
    this.#deps = deps
  }

  /** What the edge has sent. */
  receive(bytes: Buffer): void {
    this.#bytesIn += bytes.length
    this.#touch()
    this.push(bytes)
  }

  /** The edge has room for so many bytes more. */
  grant(bytes: number): void {
    this.#credit += bytes
    this.#sendLeft()
  }

  /** The edge has closed it. */
  cut(): void {
    this.#isGone = true
    this.destroy()
  }

  // What comes is pushed as it comes.
  override _read(): void {}

  override _write(chunk: string | Uint8Array, encoding: BufferEncoding, done: () => void): void {
    this.#send([{ chunk, encoding }], done)
  }

  override _writev(pieces: Piece[], done: () => void): void {
    this.#send(pieces, done)
  }

  override _final(done: () => void): void {
    this.#deps.frames.data(this.number, nothing, true)
    this.#deps.onSaid()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#left = null
    if (!this.#isGone) {
      this.#deps.frames.reset(this.number, '')
      this.#deps.onSaid()
    }
    this.#deps.onGone(this)
    super._destroy(error, done)
  }

  #send(pieces: readonly Piece[], done: () => void): void {
    const bytes = lengthOf(pieces)
    this.#bytesOut += bytes
    this.#touch()
    if (bytes > this.#credit) {
      this.#left = { bytes: Buffer.concat(pieces.map(toBytes)), done }
      this.#sendLeft()
      return
    }
    this.#credit -= bytes
    this.#deps.frames.pieces(this.number, pieces, bytes)
    this.#deps.onSaid()
    done()
  }

  #sendLeft(): void {
    if (!this.#left || this.#credit === 0) return
    const { bytes, done } = this.#left
    const chunk = bytes.subarray(0, this.#credit)
    this.#credit -= chunk.length
    this.#deps.frames.data(this.number, chunk, false)
    this.#deps.onSaid()
    this.#left = chunk.length < bytes.length ? { bytes: bytes.subarray(chunk.length), done } : null
    if (!this.#left) done()
  }

  // An app may have set a time for silence.
  #touch(): void {
    if (this.timeout) this.setTimeout(this.timeout)
  }
}

const nothing = new Uint8Array(0)

function readsItself(read: (lane: LaneSocket) => unknown) {
  return function (this: LaneSocket) {
    return read(this)
  }
}

function lengthOf(pieces: readonly Piece[]): number {
  let bytes = 0
  for (const { chunk, encoding } of pieces) {
    if (typeof chunk !== 'string') bytes += chunk.byteLength
    else bytes += encoding === 'latin1' ? chunk.length : Buffer.byteLength(chunk, encoding)
  }
  return bytes
}

function toBytes({ chunk, encoding }: Piece): Uint8Array {
  return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
}
