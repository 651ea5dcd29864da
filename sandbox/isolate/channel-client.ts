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
import { Places } from './isolate-places.ts'

/** `pairs` are header names and values by turns. `body` null: none; one longer than `maxBodyBytes` ends the request. */
export type ChannelRequest = {
  method: string
  target: string
  pairs: string[]
  body: Readable | null
  maxBodyBytes?: number
}

/** Everything in it is the app's word. A body that is there whole is a Buffer. */
export type ChannelResponse = { status: string; reason: string; pairs: string[]; body: Buffer | Readable }

/**
 * Why a request got no answer: `unsent`: the app cannot have seen it; `lost`: the connection ended; `refused`: the isolate gave up on it;
 * `torn`: it broke the protocol; `late`: its head was not there in time; `too-large`: the request's body is; `aborted`: by the caller.
 */
export type ChannelFault = 'unsent' | 'lost' | 'refused' | 'torn' | 'late' | 'too-large' | 'aborted'

export class ChannelError extends Error {
  readonly fault: ChannelFault

  constructor(fault: ChannelFault, message: string) {
    super(message)
    this.name = 'ChannelError'
    this.fault = fault
  }
}

/** Who waits for an answer: one of the two is called, once, and never from within `ask`; none after `abort`. */
export interface ChannelRecipient {
  answered(response: ChannelResponse): void
  failed(error: ChannelError): void
}

/** At any time, and nothing once it is over; a body under way then ends with an error. */
export type ChannelExchange = { abort(): void }

export type ChannelCall = ChannelExchange & { response: Promise<ChannelResponse> }

/**
 * One connection to an isolate, over which requests travel side by side; made when first needed, and again after it was lost.
 * `headTimeoutMs`, when given, is how long an answer may take to begin (an eighth more at most).
 */
export class ChannelClient {
  readonly #path: string
  readonly #headTimeoutMs: number | null
  #connection: Connection | null = null

  constructor(path: string, { headTimeoutMs = null }: { headTimeoutMs?: number | null } = {}) {
    this.#path = path
    this.#headTimeoutMs = headTimeoutMs
  }

  ask(request: ChannelRequest, recipient: ChannelRecipient): ChannelExchange {
    if (!this.#connection?.isUsable) this.#connection = new Connection(this.#path, this.#headTimeoutMs)
    return this.#connection.ask(request, recipient)
  }

  /** The same as a promise, which rejects with a ChannelError. */
  send(request: ChannelRequest): ChannelCall {
    const { promise, resolve, reject } = Promise.withResolvers<ChannelResponse>()
    promise.catch(() => undefined) // whoever waits is told; a caller that aborted does not wait
    const exchange = this.ask(request, { answered: resolve, failed: reject })
    const abort = () => {
      reject(new ChannelError('aborted', 'the request was given up'))
      exchange.abort()
    }
    return { response: promise, abort }
  }

  /** Requests on their way. */
  get inFlight(): number {
    return this.#connection?.inFlight ?? 0
  }

  close(): void {
    this.#connection?.close()
  }
}

class Connection {
  readonly frames: FrameWriter
  readonly #socket: Socket
  readonly #streams = new Places<Stream>()
  /** How often each place has been used: what may still come of a stream that was given up must not be taken for that of the next. */
  readonly #uses = new Uint32Array(frameLimits.streams)
  readonly #reader = new FrameReader((type, stream, isEnd, payload) => this.#take(type, stream, isEnd, payload))
  /** What the isolate has said so far of its preface; null: all of it. */
  #greeting: Buffer | null = Buffer.alloc(0)
  readonly #whenAccepted: (() => void)[] = []
  #failure: string | null = null
  #wasFull = false

  constructor(path: string, headTimeoutMs: number | null) {
    this.#socket = connect(path)
    this.frames = new FrameWriter((bytes) => void this.#socket.write(bytes))
    this.#socket.write(preface)
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#socket.on('error', (error) => {
      this.#failure ??= `${codeOf(error) ?? ''} ${messageOf(error)}`.trim()
    })
    this.#socket.on('drain', () => this.#drained())
    const sweeping = headTimeoutMs === null ? null : setInterval(() => this.#sweep(), headTimeoutMs / sweeps)
    this.#socket.on('close', () => {
      if (sweeping) clearInterval(sweeping)
      this.#ended('lost')
    })
  }

  get inFlight(): number {
    return this.#streams.size
  }

  /** More waits to be read there than an isolate that keeps to its window can owe. */
  get isFull(): boolean {
    if (this.#socket.writableLength <= mostUnread) return false
    this.#wasFull = true
    return true
  }

  get isUsable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable
  }

  ask(request: ChannelRequest, recipient: ChannelRecipient): ChannelExchange {
    if (this.#streams.size >= frameLimits.streams || this.isFull) return refused(recipient)
    const stream = new Stream(this, request.method, recipient)
    const place = this.#streams.take(stream)
    const use = (this.#uses[place] ?? 0) + 1
    this.#uses[place] = use
    const id = (use * frameLimits.streams + place) >>> 0
    stream.id = id
    const lines = joinHead(request.method, request.target, request.pairs)
    this.frames.head(frameType.request, id, lines, { isEnd: request.body === null })
    const { body, maxBodyBytes = Number.POSITIVE_INFINITY } = request
    // Not touched before the isolate has answered the connection: until then the request can still go elsewhere.
    if (body && this.#greeting) this.#whenAccepted.push(() => stream.sendBody(body, maxBodyBytes))
    else if (body) stream.sendBody(body, maxBodyBytes)
    return stream
  }

  forget(id: number): void {
    this.#streams.leave(id % frameLimits.streams)
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
    const stream = this.#streams.at(id % frameLimits.streams)
    if (stream?.id === id) stream.take(type, isEnd, payload)
  }

  #drained(): void {
    if (!this.#wasFull) return
    this.#wasFull = false
    for (const stream of this.#streams) stream.goOn()
  }

  // One timer for all: a timer for each costs more than the rest of a small request.
  #sweep(): void {
    for (const stream of this.#streams) stream.age()
  }

  #ended(fault: 'lost' | 'torn'): void {
    const error = new ChannelError(this.#greeting ? 'unsent' : fault, this.#failure ?? 'the connection was closed')
    for (const stream of this.#streams) stream.fail(error)
  }
}

// As much as all its streams may hold. Requests that were given up take no stream any more, and wait to be read all the same.
const mostUnread = frameLimits.streams * frameLimits.window

function refused(recipient: ChannelRecipient): ChannelExchange {
  let isGivenUp = false
  const full = new ChannelError('unsent', 'the isolate takes no more requests at the moment')
  process.nextTick(() => isGivenUp || recipient.failed(full))
  const abort = () => {
    isGivenUp = true
  }
  return { abort }
}

const sweeps = 8

/** One request and its answer. */
class Stream implements ChannelExchange {
  id = 0
  readonly #connection: Connection
  readonly #recipient: ChannelRecipient
  /** Sweeps that it has waited for its answer to begin since something last went to the isolate. */
  #age = 0
  #isAnswered = false
  #isOver = false
  #credit: number = frameLimits.window
  /** Bytes of body that may still be sent. */
  #allowance = 0
  #outgoing: Readable | null = null
  #incoming: Readable | null = null
  #unacknowledged = 0
  readonly #method: string
  /** What the answer's content-length says, and how much of it has come. */
  #declared: number | null = null
  #received = 0

  constructor(connection: Connection, method: string, recipient: ChannelRecipient) {
    this.#method = method
    this.#connection = connection
    this.#recipient = recipient
  }

  sendBody(body: Readable, most: number): void {
    if (this.#isOver) return
    this.#outgoing = body
    this.#allowance = most
    body.on('data', (chunk: Buffer) => this.#sendChunk(body, chunk))
    body.on('end', () => {
      if (!this.#isOver) this.#connection.frames.data(this.id, nothing, true)
      this.#outgoing = null
    })
    body.on('error', () => this.abort())
  }

  abort(): void {
    if (this.#isOver) return
    this.#connection.frames.reset(this.id, 'aborted')
    this.#finish()
    this.#incoming?.destroy(new ChannelError('aborted', 'the request was given up'))
  }

  fail(error: ChannelError): void {
    if (this.#isOver) return
    this.#finish()
    if (this.#isAnswered) this.#incoming?.destroy(error)
    else this.#recipient.failed(error)
  }

  age(): void {
    if (this.#isAnswered || ++this.#age <= sweeps) return
    this.#connection.frames.reset(this.id, 'it took too long')
    this.fail(new ChannelError('late', 'nothing came back in time'))
  }

  /** A frame of this stream. Throws ProtocolError. */
  take(type: number, isEnd: boolean, payload: Buffer): void {
    if (type === frameType.response) this.#takeHead(isEnd, payload)
    else if (type === frameType.data) this.#takeData(isEnd, payload)
    else if (type === frameType.window) {
      this.#credit += readWindow(payload)
      this.goOn()
    } else if (type === frameType.reset)
      this.fail(new ChannelError('refused', payload.toString('utf8').replace(/[^ -~]/g, '?')))
    else throw new ProtocolError(`a frame of type ${type} from an isolate`)
  }

  // It may say that it has read what it has not.
  goOn(): void {
    if (this.#credit > 0 && !this.#connection.isFull) this.#outgoing?.resume()
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
      this.#recipient.answered({ status: first, reason: second, pairs, body })
      return
    }
    this.#isAnswered = true
    const incoming = new Readable({ highWaterMark: frameLimits.window, read: () => this.#acknowledge() })
    incoming.on('close', () => this.abort())
    incoming.on('error', () => undefined) // whoever reads it is told; that nobody does must not end this process
    this.#incoming = incoming
    if (body.length > 0) this.#push(body)
    this.#recipient.answered({ status: first, reason: second, pairs, body: incoming })
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
      this.#connection.frames.reset(this.id, 'more than its content-length says')
      return void this.fail(wrongLength())
    }
    this.#incoming?.push(chunk)
  }

  // Asked for more, all that came has been taken or waits within the bounds of the Readable.
  #acknowledge(): void {
    if (this.#isOver || this.#unacknowledged < frameLimits.window / 2) return
    this.#connection.frames.window(this.id, this.#unacknowledged)
    this.#unacknowledged = 0
  }

  #sendChunk(body: Readable, chunk: Buffer): void {
    if (this.#isOver) return
    this.#age = 0
    this.#allowance -= chunk.length
    if (this.#allowance < 0) {
      this.#connection.frames.reset(this.id, 'its body is too large')
      this.fail(new ChannelError('too-large', 'the request body is too large'))
      return
    }
    for (let at = 0; at < chunk.length; at += frameLimits.data)
      this.#connection.frames.data(this.id, chunk.subarray(at, at + frameLimits.data), false)
    this.#credit -= chunk.length
    if (this.#credit <= 0 || this.#connection.isFull) body.pause()
  }

  #finish(): void {
    this.#isOver = true
    this.#connection.forget(this.id)
    // What is left of its body nobody will read.
    this.#outgoing?.resume()
  }
}

function wrongLength(): ChannelError {
  return new ChannelError('torn', 'its body has another length than its content-length says')
}

// Null: none is named. Not a number: it is no length, or there are several.
function declaredLength(pairs: string[]): number | null {
  let declared: number | null = null
  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index] ?? ''
    if (name.length !== 14 || name.toLowerCase() !== 'content-length') continue
    const value = pairs[index + 1] ?? ''
    declared = declared === null && /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
  }
  return declared
}

const nothing = new Uint8Array(0)
