import { Readable } from 'node:stream'
import type { HttpConnection, HttpLimits } from './http-connection.ts'
import type { HttpHead } from './http-reader.ts'
import type { Wire } from './http-wire.ts'
import { type Exchange, type Recipient, UpstreamError, type UpstreamRequest } from './upstream.ts'

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
  sendBody(wire: Wire): void {
    if (this.isSent || this.#isOver) return
    setImmediate(() => wire.uncork())
    const { body, bodyLength } = this.request
    this.#outgoing = body
    let left = this.#maxBodyBytes
    body.on('data', (chunk: Buffer) => {
      if (this.#isOver) return
      left -= chunk.length
      if (left < 0) {
        this.#connection?.destroy()
        this.fail(new UpstreamError('too-large', 'the request body is too large'))
        return
      }
      this.#connection?.touch()
      if (!writeChunk(wire, chunk, bodyLength === null)) body.pause()
    })
    body.on('end', () => {
      this.#outgoing = null
      if (this.#isOver) return
      this.isSent = true
      if (bodyLength === null) wire.write('0\r\n\r\n')
    })
  }

  /** There is room for more of the body. */
  drained(): void {
    this.#outgoing?.resume()
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

function writeChunk(wire: Wire, chunk: Buffer, isChunked: boolean): boolean {
  if (!isChunked) return wire.write(chunk)
  wire.cork()
  wire.write(`${chunk.length.toString(16)}\r\n`)
  wire.write(chunk)
  const hasRoom = wire.write('\r\n')
  wire.uncork()
  return hasRoom
}
