import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { codeOf, messageOf } from '../../registry/errors.ts'
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

/** `pairs` are header names and values by turns. `body` null: none. */
export type ChannelRequest = { method: string; target: string; pairs: string[]; body: Readable | null }

/** Everything in it is the app's word. A body that is there whole is a Buffer. */
export type ChannelResponse = { status: string; reason: string; pairs: string[]; body: Buffer | Readable }

/**
 * Why a request got no answer: `unsent`: the app cannot have seen it; `lost`: the connection ended; `refused`: the isolate gave up on it;
 * `torn`: it broke the protocol; `aborted`: by the caller.
 */
export type ChannelFault = 'unsent' | 'lost' | 'refused' | 'torn' | 'aborted'

export class ChannelError extends Error {
  readonly fault: ChannelFault

  constructor(fault: ChannelFault, message: string) {
    super(message)
    this.name = 'ChannelError'
    this.fault = fault
  }
}

export type ChannelCall = {
  response: Promise<ChannelResponse>
  /** At any time; a body under way then ends with an error. */
  abort(): void
  /** Milliseconds (performance.now) at which the isolate last sent something of it. */
  readonly heardAt: number
}

/** One connection to an isolate, over which requests travel side by side; made when first needed, and again after it was lost. */
export class ChannelClient {
  readonly #path: string
  #connection: Connection | null = null

  constructor(path: string) {
    this.#path = path
  }

  send(request: ChannelRequest): ChannelCall {
    if (!this.#connection?.isUsable) this.#connection = new Connection(this.#path)
    return this.#connection.send(request)
  }

  close(): void {
    this.#connection?.close()
  }
}

class Connection {
  readonly frames: FrameWriter
  readonly #socket: Socket
  readonly #streams = new Map<number, Stream>()
  readonly #reader = new FrameReader((type, stream, isEnd, payload) => this.#take(type, stream, isEnd, payload))
  #lastStream = 0
  /** What the isolate has said so far of its preface; null: all of it. */
  #greeting: Buffer | null = Buffer.alloc(0)
  readonly #whenAccepted: (() => void)[] = []
  #failure: string | null = null

  constructor(path: string) {
    this.#socket = connect(path)
    this.frames = new FrameWriter((bytes) => void this.#socket.write(bytes))
    this.#socket.write(preface)
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#socket.on('error', (error) => {
      this.#failure ??= `${codeOf(error) ?? ''} ${messageOf(error)}`.trim()
    })
    this.#socket.on('close', () => this.#ended('lost'))
  }

  get isUsable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable
  }

  send(request: ChannelRequest): ChannelCall {
    this.#lastStream = (this.#lastStream + 1) >>> 0
    const id = this.#lastStream
    const stream = new Stream(this, id, request.method)
    if (this.#streams.size >= frameLimits.streams) {
      stream.fail(new ChannelError('unsent', `the isolate has ${frameLimits.streams} requests in hand`))
      return stream
    }
    this.#streams.set(id, stream)
    const lines = joinHead(request.method, request.target, request.pairs)
    this.frames.head(frameType.request, id, lines, { isEnd: request.body === null })
    const { body } = request
    // Not touched before the isolate has answered the connection: until then the request can still go elsewhere.
    if (body && this.#greeting) this.#whenAccepted.push(() => stream.sendBody(body))
    else if (body) stream.sendBody(body)
    return stream
  }

  forget(id: number): void {
    this.#streams.delete(id)
  }

  /** Requests in hand end with `lost`. */
  close(): void {
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    try {
      const bytes = this.#greeting ? this.#readGreeting(this.#greeting, chunk) : chunk
      if (bytes) this.#reader.push(bytes)
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown
      this.#failure = thrown.message
      this.#ended('torn')
      this.#socket.destroy()
    }
  }

  #readGreeting(heard: Buffer, chunk: Buffer): Buffer | null {
    const bytes = heard.length > 0 ? Buffer.concat([heard, chunk]) : chunk
    const rest = afterPreface(bytes)
    if (rest === null) throw new ProtocolError('it does not speak the channel')
    this.#greeting = rest ? null : bytes
    if (rest) for (const start of this.#whenAccepted.splice(0)) start()
    return rest ?? null
  }

  #take(type: number, id: number, isEnd: boolean, payload: Buffer): void {
    // Of a stream that was given up, more may have been on its way.
    this.#streams.get(id)?.take(type, isEnd, payload)
  }

  #ended(fault: 'lost' | 'torn'): void {
    const error = new ChannelError(this.#greeting ? 'unsent' : fault, this.#failure ?? 'the connection was closed')
    for (const stream of this.#streams.values()) stream.fail(error)
    this.#streams.clear()
  }
}

/** One request and its answer. */
class Stream implements ChannelCall {
  readonly response: Promise<ChannelResponse>
  heardAt = performance.now()
  readonly #connection: Connection
  readonly #id: number
  readonly #answered = Promise.withResolvers<ChannelResponse>()
  #isAnswered = false
  #isOver = false
  #credit: number = frameLimits.window
  #outgoing: Readable | null = null
  #incoming: Readable | null = null
  #unacknowledged = 0
  readonly #method: string
  /** What the answer's content-length says, and how much of it has come. */
  #declared: number | null = null
  #received = 0

  constructor(connection: Connection, id: number, method: string) {
    this.#method = method
    this.#connection = connection
    this.#id = id
    this.response = this.#answered.promise
    this.response.catch(() => undefined) // whoever waits is told; a caller that aborted does not wait
  }

  sendBody(body: Readable): void {
    this.#outgoing = body
    body.on('data', (chunk: Buffer) => this.#sendChunk(body, chunk))
    body.on('end', () => {
      if (!this.#isOver) this.#connection.frames.data(this.#id, nothing, true)
      this.#outgoing = null
    })
    body.on('error', () => this.abort())
  }

  abort(): void {
    if (this.#isOver) return
    this.#connection.frames.reset(this.#id, 'aborted')
    this.fail(new ChannelError('aborted', 'the request was given up'))
  }

  fail(error: ChannelError): void {
    if (this.#isOver) return
    this.#finish()
    if (this.#isAnswered) this.#incoming?.destroy(error)
    else this.#answered.reject(error)
  }

  /** A frame of this stream. Throws ProtocolError. */
  take(type: number, isEnd: boolean, payload: Buffer): void {
    this.heardAt = performance.now()
    if (type === frameType.response) this.#takeHead(isEnd, payload)
    else if (type === frameType.data) this.#takeData(isEnd, payload)
    else if (type === frameType.window) {
      this.#credit += readWindow(payload)
      if (this.#credit > 0) this.#outgoing?.resume()
    } else if (type === frameType.reset)
      this.fail(new ChannelError('refused', payload.toString('utf8').replace(/[^ -~]/g, '?')))
    else throw new ProtocolError(`a frame of type ${type} from an isolate`)
  }

  #takeHead(isEnd: boolean, payload: Buffer): void {
    if (this.#isAnswered) throw new ProtocolError('a second response to one request')
    const { first, second, pairs, body } = splitHead(payload)
    this.#declared = declaredLength(pairs)
    if (isEnd) {
      const mayBeAbsent = body.length === 0 && (this.#method === 'HEAD' || first === '304')
      if (this.#declared !== null && this.#declared !== body.length && !mayBeAbsent)
        return void this.fail(wrongLength())
      this.#isAnswered = true
      this.#finish()
      this.#answered.resolve({ status: first, reason: second, pairs, body })
      return
    }
    this.#isAnswered = true
    const incoming = new Readable({ highWaterMark: frameLimits.window, read: () => this.#acknowledge() })
    incoming.on('close', () => this.abort())
    incoming.on('error', () => undefined) // whoever reads it is told; that nobody does must not end this process
    this.#incoming = incoming
    if (body.length > 0) this.#push(body)
    this.#answered.resolve({ status: first, reason: second, pairs, body: incoming })
  }

  #takeData(isEnd: boolean, payload: Buffer): void {
    if (!this.#incoming) throw new ProtocolError('data before the response')
    if (payload.length > 0) this.#push(payload)
    if (!isEnd || this.#isOver) return
    if (this.#declared !== null && this.#received !== this.#declared) return void this.fail(wrongLength())
    this.#finish()
    this.#incoming.push(null)
  }

  #push(chunk: Buffer): void {
    this.#unacknowledged += chunk.length
    if (this.#unacknowledged > frameLimits.window) throw new ProtocolError('more data than the window allows')
    this.#received += chunk.length
    // Passed on, what is too much would be read as the beginning of the next answer on the client's connection.
    if (this.#declared !== null && !(this.#received <= this.#declared)) {
      this.#connection.frames.reset(this.#id, 'more than its content-length says')
      return void this.fail(wrongLength())
    }
    this.#incoming?.push(chunk)
  }

  // Asked for more, all that came has been taken or waits within the bounds of the Readable.
  #acknowledge(): void {
    if (this.#isOver || this.#unacknowledged < frameLimits.window / 2) return
    this.#connection.frames.window(this.#id, this.#unacknowledged)
    this.#unacknowledged = 0
  }

  #sendChunk(body: Readable, chunk: Buffer): void {
    if (this.#isOver) return
    for (let at = 0; at < chunk.length; at += frameLimits.data)
      this.#connection.frames.data(this.#id, chunk.subarray(at, at + frameLimits.data), false)
    this.#credit -= chunk.length
    if (this.#credit <= 0) body.pause()
  }

  #finish(): void {
    this.#isOver = true
    this.#connection.forget(this.#id)
    // What is left of its body nobody will read.
    this.#outgoing?.resume()
  }
}

function wrongLength(): ChannelError {
  return new ChannelError('torn', 'its body has another length than its content-length says')
}

// Null: none is named. Not a number: it is no length, or there are several.
function declaredLength(pairs: string[]): number | null {
  const named = pairs.filter((_, index) => index % 2 === 1 && pairs[index - 1]?.toLowerCase() === 'content-length')
  if (named.length === 0) return null
  return named.length === 1 && /^\d{1,15}$/.test(named[0] ?? '') ? Number(named[0]) : Number.NaN
}

const nothing = new Uint8Array(0)
