import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { codeOf, messageOf } from '../../../registry/errors.ts'
import { type HttpHead, type HttpListener, HttpReader, MalformedResponse } from './http-reader.ts'
import { type Exchange, type Recipient, UpstreamError, type UpstreamFault, type UpstreamRequest } from './upstream.ts'

/** `headTimeoutMs`: silence allowed before the response head; `idleTimeoutMs`: after it. */
export type HttpLimits = { headTimeoutMs: number; idleTimeoutMs: number; maxBodyBytes: number }

export type HttpConnectionDeps = {
  limits: HttpLimits
  /** Its request is over, and it can take another. */
  onFree: (connection: HttpConnection) => void
  onClosed: (connection: HttpConnection) => void
}

// An app closes idle connections after 5 s (Node's default): one that was idle for longer than this is not used again, and an app
// that names a shorter time in its Keep-Alive header is believed.
const longestIdleMs = 3_000
// For all connections: what is read is used, or copied, before the next read.
const readBuffer = Buffer.allocUnsafeSlow(65_536)

/** One connection to an app that speaks HTTP/1.1; it carries one request at a time. */
export class HttpConnection implements HttpListener {
  readonly #socket: Socket
  readonly #deps: HttpConnectionDeps
  readonly #reader = new HttpReader(this)
  #exchange: HttpExchange | null = null
  #isConnected = false
  #uses = 0
  #failure: Error | null = null
  /** Milliseconds (performance.now) since which nothing has moved. */
  #quietSince = performance.now()
  #idleMs = longestIdleMs
  /** Whether its last answer lets it be used again. */
  #isKeptAlive = false

  constructor(socketPath: string, deps: HttpConnectionDeps) {
    this.#deps = deps
    const onread = { buffer: readBuffer, callback: (bytes: number) => this.#receive(bytes) }
    this.#socket = connect({ path: socketPath, onread })
    this.#socket.on('connect', () => {
      this.#isConnected = true
      this.#exchange?.sendBody(this.#socket)
    })
    this.#socket.on('end', () => this.#ended())
    this.#socket.on('error', (error) => {
      this.#failure = error
    })
    this.#socket.on('close', () => {
      this.#ended()
      deps.onClosed(this)
    })
  }

  get isUsable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable && performance.now() - this.#quietSince < this.#idleMs
  }

  /** Only when it is free. */
  send(exchange: HttpExchange): void {
    this.#exchange = exchange
    this.#uses++
    this.#quietSince = performance.now()
    this.#reader.expect(exchange.request.method)
    // With what is there of the body: to an app that answers at once and closes, a second write would fail, and its answer be lost.
    if (!exchange.isSent) this.#socket.cork()
    this.#socket.write(headOf(exchange.request), 'latin1')
    if (this.#isConnected) exchange.sendBody(this.#socket)
  }

  /** Looks whether it has been quiet for too long. `now` is of performance.now. */
  look(now: number): void {
    const quietMs = now - this.#quietSince
    const exchange = this.#exchange
    if (!exchange) {
      if (quietMs >= this.#idleMs) this.#socket.destroy()
    } else if (!exchange.isPatient && quietMs >= exchange.timeoutMs(this.#deps.limits)) {
      this.#fail('timeout', 'nothing came back in time')
    }
  }

  /** Something has moved towards the app. */
  touch(): void {
    this.#quietSince = performance.now()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.touch()
    this.#socket.resume()
  }

  destroy(): void {
    this.#exchange = null
    this.#socket.destroy()
  }

  /** The app has ended. */
  close(): void {
    this.#fail(this.#isConnected ? 'lost' : 'unsent', 'the app has ended')
  }

  interim(status: number, pairs: string[]): void {
    this.#exchange?.interim(status, pairs)
  }

  whole(head: HttpHead, body: Buffer, trailers: string[]): void {
    this.#readKeepAlive(head)
    // The read buffer is used again.
    this.#exchange?.whole(head, Buffer.from(body), trailers)
  }

  begun(head: HttpHead): void {
    this.#readKeepAlive(head)
    this.#exchange?.begun(head)
  }

  data(chunk: Buffer): void {
    this.#exchange?.data(Buffer.from(chunk))
  }

  ended(trailers: string[]): void {
    this.#exchange?.ended(trailers)
  }

  #receive(bytes: number): boolean {
    this.#quietSince = performance.now()
    const exchange = this.#exchange
    try {
      this.#reader.push(readBuffer.subarray(0, bytes))
    } catch (thrown) {
      if (!(thrown instanceof MalformedResponse)) throw thrown
      this.#fail('invalid', thrown.message)
      return false
    }
    // Not before all that came has been read: what follows an answer must not be taken for the next one.
    if (exchange?.isAnsweredWhole && this.#exchange === exchange) this.#release(exchange)
    return true
  }

  #release(exchange: HttpExchange): void {
    this.#exchange = null
    if (!this.#isKeptAlive || !exchange.isSent) {
      this.#socket.destroy()
      return
    }
    // The last piece of a body may have been more than its slow reader had room for.
    this.#socket.resume()
    this.#deps.onFree(this)
  }

  #readKeepAlive({ isKeptAlive, idleSec }: HttpHead): void {
    this.#isKeptAlive = isKeptAlive
    if (idleSec !== null) this.#idleMs = Math.min(longestIdleMs, Math.max(0, idleSec * 1000 - 1000))
  }

  #ended(): void {
    const exchange = this.#exchange
    if (!exchange) {
      this.#socket.destroy()
      return
    }
    if (!this.#failure) {
      try {
        this.#reader.finish()
      } catch (thrown) {
        if (!(thrown instanceof MalformedResponse)) throw thrown
      }
      if (exchange.isAnsweredWhole) {
        this.#exchange = null
        this.#socket.destroy()
        return
      }
    }
    const isReused = this.#uses > 1
    const reason = this.#failure
      ? `${codeOf(this.#failure) ?? ''} ${messageOf(this.#failure)}`
      : 'it closed the connection'
    this.#fail(!this.#isConnected ? 'unsent' : isReused && !exchange.isSeen ? 'stale' : 'lost', reason)
  }

  #fail(fault: UpstreamFault, message: string): void {
    const exchange = this.#exchange
    this.destroy()
    exchange?.fail(new UpstreamError(fault, message))
  }
}

/** One request and its answer, on whichever connection it got. */
export class HttpExchange implements Exchange {
  readonly request: UpstreamRequest
  readonly #recipient: Recipient
  readonly #maxBodyBytes: number
  #connection: HttpConnection | null = null
  #body: Readable | null = null
  #outgoing: Readable | null = null
  #trailers: string[] = []
  #isOver = false
  isSent: boolean
  /** The app has said something to it. */
  isSeen = false
  /** And that was the head of its answer. */
  isHeard = false
  isAnsweredWhole = false
  /** It may be silent for as long as it likes: an event stream, or one whose reader is slow. */
  isPatient = false
  #isEndless = false

  constructor(request: UpstreamRequest, recipient: Recipient, { maxBodyBytes }: HttpLimits) {
    this.request = request
    this.#recipient = recipient
    this.#maxBodyBytes = maxBodyBytes
    this.isSent = request.bodyLength === 0
  }

  get isOver(): boolean {
    return this.#isOver
  }

  on(connection: HttpConnection): void {
    this.#connection = connection
    connection.send(this)
  }

  timeoutMs({ headTimeoutMs, idleTimeoutMs }: HttpLimits): number {
    return this.isHeard ? idleTimeoutMs : headTimeoutMs
  }

  abort(): void {
    if (this.#isOver) return
    this.#finish()
    this.#connection?.destroy()
    this.#body?.destroy(new UpstreamError('lost', 'the request was given up'))
  }

  fail(error: UpstreamError): void {
    if (this.#isOver) return
    this.#finish()
    if (this.#body) this.#body.destroy(error)
    else this.#recipient.failed(error)
  }

  // The body is not touched before there is a connection: until then the request can still go elsewhere.
  sendBody(socket: Socket): void {
    if (this.isSent || this.#isOver) return
    setImmediate(() => socket.uncork())
    const { body, bodyLength } = this.request
    this.#outgoing = body
    let left = this.#maxBodyBytes
    const drained = () => void body.resume()
    socket.on('drain', drained)
    body.on('data', (chunk: Buffer) => {
      if (this.#isOver) return
      left -= chunk.length
      if (left < 0) {
        this.#connection?.destroy()
        this.fail(new UpstreamError('too-large', 'the request body is too large'))
        return
      }
      this.#connection?.touch()
      if (!writeChunk(socket, chunk, bodyLength === null)) body.pause()
    })
    body.on('end', () => {
      socket.off('drain', drained)
      if (this.#isOver) return
      this.isSent = true
      if (bodyLength === null) socket.write('0\r\n\r\n', 'latin1')
    })
  }

  interim(status: number, pairs: string[]): void {
    this.isSeen = true
    if (!this.#isOver) this.#recipient.interim?.(status, pairs)
  }

  whole({ status, reason, pairs }: HttpHead, body: Buffer, trailers: string[]): void {
    this.#heard()
    this.isAnsweredWhole = true
    if (this.#isOver) return
    this.#finish()
    this.#recipient.answered({ status, reason, pairs, body, trailers: () => trailers })
  }

  begun({ status, reason, pairs }: HttpHead): void {
    this.#heard()
    const connection = this.#connection
    this.#isEndless = isEventStream(pairs)
    this.isPatient = this.#isEndless
    const body = new Readable({
      read: () => {
        if (!this.isAnsweredWhole) connection?.resume()
        this.isPatient = this.#isEndless
      },
    })
    // Whoever reads it is told; that nobody does must not end this process.
    body.on('error', () => undefined)
    body.on('close', () => this.abort())
    this.#body = body
    this.#recipient.answered({ status, reason, pairs, body, trailers: () => this.#trailers })
  }

  data(chunk: Buffer): void {
    if (!this.#body || this.#body.push(chunk)) return
    this.#connection?.pause()
    this.isPatient = true
  }

  ended(trailers: string[]): void {
    this.isAnsweredWhole = true
    this.#trailers = trailers
    this.#finish()
    this.#body?.push(null)
  }

  #heard(): void {
    this.isSeen = true
    this.isHeard = true
  }

  #finish(): void {
    this.#isOver = true
    // What is left of its body nobody will read, and behind it stands the client's next request.
    this.#outgoing?.resume()
  }
}

function isEventStream(pairs: string[]): boolean {
  for (let index = 0; index < pairs.length; index += 2)
    if (pairs[index]?.toLowerCase() === 'content-type')
      return pairs[index + 1]?.startsWith('text/event-stream') === true
  return false
}

function writeChunk(socket: Socket, chunk: Buffer, isChunked: boolean): boolean {
  if (!isChunked) return socket.write(chunk)
  socket.cork()
  socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
  socket.write(chunk)
  const hasRoom = socket.write('\r\n', 'latin1')
  socket.uncork()
  return hasRoom
}

function headOf({ method, target, headers, bodyLength }: UpstreamRequest): string {
  let head = `${method} ${target} HTTP/1.1\r\n`
  for (let index = 0; index < headers.length; index += 2) head += `${headers[index]}: ${headers[index + 1]}\r\n`
  return `${head}${framingOf(method, bodyLength)}\r\n`
}

// Exactly one framing, always stated: a body without one would be read as a second request (security.md §1.10).
function framingOf(method: string, bodyLength: number | null): string {
  if (bodyLength === null) return 'transfer-encoding: chunked\r\n'
  if (bodyLength > 0) return `content-length: ${bodyLength}\r\n`
  return method === 'POST' || method === 'PUT' || method === 'PATCH' ? 'content-length: 0\r\n' : ''
}
