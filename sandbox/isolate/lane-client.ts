import { connect, type Socket } from 'node:net'
import { afterPreface, FrameReader, FrameWriter, frameLimits, frameType, ProtocolError } from './isolate-messages.ts'
import { Places } from './isolate-places.ts'

/** Who has a lane. Nothing is called from within `open` or a method of the lane, and nothing after `closed`. */
export interface LaneListener {
  /** It is open, and may be written to. */
  connected(): void
  /** The bytes live as long as the call. */
  received(bytes: Buffer): void
  /** The app says nothing more on it. */
  finished(): void
  closed(failure: Error | null): void
}

/**
 * The edge's end of the lanes of one host: connections to the app's HTTP server, side by side on one socket (docs/lanes.md). Made when first asked for; when the
 * host gives no lane, or the socket is lost, there are no more: who wants a connection then makes one of his own.
 */
export class LaneClient {
  readonly #path: string
  #connection: Connection | null = null

  constructor(path: string) {
    this.#path = path
  }

  /** Whether a lane may be asked for; who asks this first has the socket made. */
  get hasRoom(): boolean {
    this.#connection ??= new Connection(this.#path)
    return this.#connection.hasRoom
  }

  /** A lane, when there is room. `listener` is told when the app's server has it. */
  open(listener: LaneListener): Lane {
    this.#connection ??= new Connection(this.#path)
    return this.#connection.open(listener)
  }

  close(): void {
    this.#connection?.close()
  }
}

// What an app that has stopped reading is sent before others of its connections are used: some hundred requests with a body.
const mostUnread = 4 * 1_048_576

class Connection {
  readonly frames: FrameWriter
  readonly #socket: Socket
  readonly #lanes = new Places<Lane>()
  /** How often each place has been used: what still comes on a lane that is closed must not be taken for the next one's. */
  readonly #uses = new Uint32Array(frameLimits.streams)
  readonly #reader = new FrameReader((type, number, isEnd, payload) => this.#take(type, number, isEnd, payload))
  /** What the host has said so far of its preface; null: all of it. */
  #greeting: Buffer | null = Buffer.alloc(0)
  #givesMore = true
  #failure: Error | null = null

  constructor(path: string) {
    this.#socket = connect(path)
    this.frames = new FrameWriter((bytes) => void this.#socket.write(bytes))
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#socket.on('error', (error) => {
      this.#failure ??= error
    })
    this.#socket.on('end', () => this.#socket.destroy())
    this.#socket.on('close', () => {
      for (const lane of this.#lanes) lane.lost(this.#failure)
    })
  }

  get isUsable(): boolean {
    const { writable, writableLength } = this.#socket
    return writable && writableLength <= mostUnread && this.#greeting === null
  }

  get hasRoom(): boolean {
    return this.#givesMore && this.isUsable && this.#lanes.size < frameLimits.streams
  }

  open(listener: LaneListener): Lane {
    const lane = new Lane(this, listener)
    const place = this.#lanes.take(lane)
    const use = (this.#uses[place] ?? 0) + 1
    this.#uses[place] = use
    lane.number = (use * frameLimits.streams + place) >>> 0
    this.frames.bare(frameType.request, lane.number)
    return lane
  }

  /** The host has closed a lane. One that has not been open says that there will be no more. */
  refused({ isOpen }: Lane): void {
    if (!isOpen) this.#givesMore = false
  }

  forget({ number }: Lane): void {
    this.#lanes.leave(number % frameLimits.streams)
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    try {
      const bytes = this.#greeting ? this.#readGreeting(this.#greeting, chunk) : chunk
      if (bytes) this.#reader.push(bytes)
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown
      this.#failure = thrown
      this.#socket.destroy()
    }
  }

  #readGreeting(heard: Buffer, chunk: Buffer): Buffer | null {
    const bytes = heard.length > 0 ? Buffer.concat([heard, chunk]) : chunk
    const rest = afterPreface(bytes)
    if (rest === null) throw new ProtocolError('it does not speak of lanes')
    this.#greeting = rest ? null : bytes
    return rest ?? null
  }

  #take(type: number, number: number, isEnd: boolean, payload: Buffer): void {
    // Of a lane that was closed, more may have been on its way.
    const lane = this.#lanes.at(number % frameLimits.streams)
    if (lane?.number === number) lane.take(type, isEnd, payload)
  }
}

/** One connection to the app's server. */
export class Lane {
  number = 0
  readonly #connection: Connection
  readonly #listener: LaneListener
  #state: 'asked' | 'open' | 'closed' = 'asked'
  #hasEnded = false
  #isPaused = false
  #unacknowledged = 0

  constructor(connection: Connection, listener: LaneListener) {
    this.#connection = connection
    this.#listener = listener
  }

  /** The app's server has it. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get isUsable(): boolean {
    return this.isOpen && this.#connection.isUsable
  }

  /** Text is Latin-1, and at most `frameLimits.data` long. There is always room: who writes keeps to a request at a time. */
  write(bytes: string | Buffer): true {
    const { frames } = this.#connection
    if (this.#state === 'closed') return true
    if (typeof bytes === 'string') frames.text(this.number, bytes)
    else
      for (let at = 0; at < bytes.length; at += frameLimits.data)
        frames.data(this.number, bytes.subarray(at, at + frameLimits.data), false)
    return true
  }

  // What is written in one turn of the event loop goes out together, as it is.
  cork(): void {}

  uncork(): void {}

  /** No more comes than is on its way. */
  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#acknowledge()
  }

  destroy(): void {
    if (this.#state === 'closed') return
    this.#connection.frames.reset(this.number, '')
    this.#close()
    process.nextTick(() => this.#listener.closed(null))
  }

  /** For the connection: it has ended, and all its lanes with it. */
  lost(failure: Error | null): void {
    this.#close()
    this.#listener.closed(failure)
  }

  /** For the connection: a frame of this lane. Throws ProtocolError. */
  take(type: number, isEnd: boolean, payload: Buffer): void {
    if (type === frameType.reset) {
      this.#connection.refused(this)
      this.lost(null)
    } else if (type === frameType.response && this.#state === 'asked') {
      this.#state = 'open'
      this.#listener.connected()
    } else if (type === frameType.data && this.#state === 'open' && !this.#hasEnded) this.#takeData(isEnd, payload)
    else throw new ProtocolError(`a frame of type ${type} that does not belong here`)
  }

  #takeData(isEnd: boolean, payload: Buffer): void {
    this.#unacknowledged += payload.length
    if (this.#unacknowledged > frameLimits.window) throw new ProtocolError('more data than the window allows')
    this.#hasEnded = isEnd
    if (payload.length > 0) this.#listener.received(payload)
    if (!this.isOpen) return
    if (isEnd) this.#listener.finished()
    else this.#acknowledge()
  }

  #acknowledge(): void {
    if (this.#isPaused || this.#state !== 'open' || this.#unacknowledged < frameLimits.window / 2) return
    this.#connection.frames.window(this.number, this.#unacknowledged)
    this.#unacknowledged = 0
  }

  #close(): void {
    this.#state = 'closed'
    this.#connection.forget(this)
  }
}
