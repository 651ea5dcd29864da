// The isolate's end of the channel: requests come in as frames, side by side, and answers go out. Node builtins only.
import type { Socket } from 'node:net'
import {
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

/** Serves one edge over a connection on which it has said the preface; `rest` is what came after. */
export function serveChannel(socket: Socket, rest: Buffer, onCall: (call: Call) => void): void {
  new Connection(socket, onCall).receive(rest)
}

/** One request, and the way back for its answer. */
export class Call {
  readonly method: string
  readonly target: string
  /** A name and a value by turns, as the client wrote them. */
  readonly pairs: string[]
  readonly hasBody: boolean
  readonly stream: number
  /** Called once when the edge wants no answer any more. */
  onAbort: (() => void) | null = null
  #state: 'asked' | 'answering' | 'over' | 'aborted' = 'asked'
  readonly #connection: Connection
  /** Bytes the edge takes before it says more. */
  #credit: number = frameLimits.window
  #onCredit: (() => void) | null = null
  #received: Buffer[] = []
  #isReceived: boolean
  #unacknowledged = 0
  #onReceived: (() => void) | null = null

  constructor(connection: Connection, stream: number, isEnd: boolean, payload: Buffer) {
    const { first, second, pairs } = splitHead(payload)
    this.method = first
    this.target = second
    this.pairs = pairs
    this.hasBody = !isEnd
    this.#isReceived = isEnd
    this.stream = stream
    this.#connection = connection
  }

  /** Whether nothing has been said to it yet, and something still can be. */
  get isOpen(): boolean {
    return this.#state === 'asked'
  }

  get isAborted(): boolean {
    return this.#state === 'aborted'
  }

  /** The next of the body, or null at its end. Throws when the client has left in mid-body. One caller at a time. */
  async read(): Promise<Buffer | null> {
    while (this.#received.length === 0 && !this.#isReceived && !this.isAborted)
      await new Promise<void>((settle) => {
        this.#onReceived = settle
      })
    if (this.isAborted) throw new DOMException('The client has closed the connection', 'AbortError')
    const chunk = this.#received.shift()
    if (!chunk) return null
    this.#unacknowledged += chunk.length
    if (!this.#isReceived && this.#state !== 'over' && this.#unacknowledged >= frameLimits.window / 2) {
      this.#connection.frames.window(this.stream, this.#unacknowledged)
      this.#unacknowledged = 0
    }
    return chunk
  }

  /** The whole answer at once. `body` is at most `frameLimits.data` long. */
  answerWhole(status: number, reason: string, pairs: string[], body?: Uint8Array): void {
    if (this.#state !== 'asked') return
    this.#connection.frames.head(frameType.response, this.stream, headOf(status, reason, pairs), { isEnd: true, body })
    this.#finish()
  }

  /** The head of an answer whose body follows by `write` and `end`. */
  answer(status: number, reason: string, pairs: string[]): void {
    if (this.#state !== 'asked') return
    this.#connection.frames.head(frameType.response, this.stream, headOf(status, reason, pairs), { isEnd: false })
    this.#state = 'answering'
  }

  /** Resolves when the edge has room for all of it; at once when it wants nothing any more. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.byteLength; ) {
      while (this.#credit === 0 && this.#state === 'answering')
        await new Promise<void>((settle) => {
          this.#onCredit = settle
        })
      if (this.#state !== 'answering') return
      const length = Math.min(chunk.byteLength - at, this.#credit, frameLimits.data)
      this.#connection.frames.data(this.stream, chunk.subarray(at, at + length), false)
      this.#credit -= length
      at += length
    }
  }

  end(): void {
    if (this.#state !== 'answering') return
    this.#connection.frames.data(this.stream, nothing, true)
    this.#finish()
  }

  /** The answer cannot be given, or not to its end. */
  fail(reason: string): void {
    if (this.#state !== 'asked' && this.#state !== 'answering') return
    this.#connection.frames.reset(this.stream, reason)
    this.#finish()
  }

  /** For the connection: a frame of this stream. Throws ProtocolError. */
  receive(type: number, isEnd: boolean, payload: Buffer): void {
    if (type === frameType.data) {
      if (payload.length > 0) this.#received.push(payload)
      this.#isReceived = isEnd
      this.#wake()
    } else if (type === frameType.window) {
      this.#credit += readWindow(payload)
      this.#onCredit?.()
      this.#onCredit = null
    } else if (type === frameType.reset) this.abort()
    else throw new ProtocolError(`a frame of type ${type} from an edge`)
  }

  /** For the connection: nobody waits for the answer any more. */
  abort(): void {
    if (this.#state === 'over' || this.#state === 'aborted') return
    this.#state = 'aborted'
    this.#received = []
    this.#connection.forget(this.stream)
    this.#onCredit?.()
    this.#wake()
    this.onAbort?.()
  }

  #wake(): void {
    this.#onReceived?.()
    this.#onReceived = null
  }

  #finish(): void {
    this.#state = 'over'
    this.#connection.forget(this.stream)
  }
}

const nothing = new Uint8Array(0)

function headOf(status: number, reason: string, pairs: string[]): string {
  const lines = joinHead(String(status), reason, pairs)
  if (lines.length > frameLimits.head) throw new RangeError('the headers of the response are longer than 64 kB')
  return lines
}

class Connection {
  readonly frames: FrameWriter
  readonly #socket: Socket
  readonly #onCall: (call: Call) => void
  /** By place: what is left of a stream's number. */
  readonly #calls: (Call | null)[] = []
  readonly #reader = new FrameReader((type, stream, isEnd, payload) => this.#take(type, stream, isEnd, payload))

  constructor(socket: Socket, onCall: (call: Call) => void) {
    this.#socket = socket
    this.#onCall = onCall
    this.frames = new FrameWriter((bytes) => void socket.write(bytes))
    socket.write(preface)
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      for (const call of this.#calls) call?.abort()
    })
  }

  receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk)
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown
      this.#socket.destroy()
    }
  }

  forget(stream: number): void {
    if (this.#callOf(stream)) this.#calls[stream % frameLimits.streams] = null
  }

  #take(type: number, stream: number, isEnd: boolean, payload: Buffer): void {
    if (type !== frameType.request) {
      // What crossed an answer on its way belongs to nobody.
      this.#callOf(stream)?.receive(type, isEnd, payload)
      return
    }
    const place = stream % frameLimits.streams
    // The edge gives a place again when the call that had it is over, for one of the two ends at least.
    this.#calls[place]?.abort()
    const call = new Call(this, stream, isEnd, payload)
    this.#calls[place] = call
    this.#onCall(call)
  }

  #callOf(stream: number): Call | null {
    const call = this.#calls[stream % frameLimits.streams]
    return call?.stream === stream ? call : null
  }
}
