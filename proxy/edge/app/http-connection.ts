import { codeOf, messageOf } from '../../../registry/errors.ts'
import type { HttpExchange } from './http-exchange.ts'
import { type HttpHead, type HttpListener, HttpReader, MalformedResponse } from './http-reader.ts'
import type { Wire, WireListener } from './http-wire.ts'
import { UpstreamError, type UpstreamFault, type UpstreamRequest } from './upstream.ts'

/** `headTimeoutMs`: silence allowed before the response head; `idleTimeoutMs`: after it. */
export type HttpLimits = { headTimeoutMs: number; idleTimeoutMs: number; maxBodyBytes: number }

export type HttpConnectionDeps = {
  limits: HttpLimits
  /** It can take a request: its last is over, or it has been opened for none. */
  onFree: (connection: HttpConnection) => void
  onClosed: (connection: HttpConnection) => void
}

// An app closes idle connections after 5 s (Node's default): one that was idle for longer than this is not used again, and an app
// that names a shorter time in its Keep-Alive header is believed.
const longestIdleMs = 3_000

/** One connection to an app that speaks HTTP/1.1; it carries one request at a time. */
export class HttpConnection implements HttpListener, WireListener {
  readonly #wire: Wire
  readonly #deps: HttpConnectionDeps
  readonly #reader = new HttpReader(this)
  #exchange: HttpExchange | null = null
  #isConnected = false
  /** Whether it was there before its request. */
  #isReused = false
  #failure: Error | null = null
  /** Milliseconds (performance.now) since which nothing has moved. */
  #quietSince = performance.now()
  #idleMs = longestIdleMs
  /** Whether its last answer lets it be used again. */
  #isKeptAlive = false

  constructor(open: (listener: WireListener) => Wire, deps: HttpConnectionDeps) {
    this.#deps = deps
    this.#wire = open(this)
  }

  get isUsable(): boolean {
    return this.#wire.isUsable && performance.now() - this.#quietSince < this.#idleMs
  }

  /** Only when it is free. */
  send(exchange: HttpExchange): void {
    this.#exchange = exchange
    this.#isReused = this.#isConnected
    this.#quietSince = performance.now()
    this.#reader.expect(exchange.request.method)
    // With what is there of the body: to an app that answers at once and closes, a second write would fail, and its answer be lost.
    if (!exchange.isSent) this.#wire.cork()
    this.#wire.write(headOf(exchange.request))
    if (this.#isConnected) exchange.sendBody(this.#wire)
  }

  /** Looks whether it has been quiet for too long. `now` is of performance.now. */
  look(now: number): void {
    const quietMs = now - this.#quietSince
    const exchange = this.#exchange
    if (!exchange) {
      if (quietMs >= this.#idleMs) this.#wire.destroy()
    } else if (!exchange.isPatient && quietMs >= exchange.timeoutMs(this.#deps.limits)) {
      this.#fail('timeout', 'nothing came back in time')
    }
  }

  /** Something has moved towards the app. */
  touch(): void {
    this.#quietSince = performance.now()
  }

  pause(): void {
    this.#wire.pause()
  }

  resume(): void {
    this.touch()
    this.#wire.resume()
  }

  destroy(): void {
    this.#exchange = null
    this.#wire.destroy()
  }

  /** The app has ended. */
  close(): void {
    this.#fail(this.#isConnected ? 'lost' : 'unsent', 'the app has ended')
  }

  connected(): void {
    this.#isConnected = true
    if (this.#exchange) this.#exchange.sendBody(this.#wire)
    else this.#deps.onFree(this)
  }

  received(bytes: Buffer): void {
    this.#quietSince = performance.now()
    const exchange = this.#exchange
    try {
      this.#reader.push(bytes)
    } catch (thrown) {
      if (!(thrown instanceof MalformedResponse)) throw thrown
      this.#fail('invalid', thrown.message)
      return
    }
    // Not before all that came has been read: what follows an answer must not be taken for the next one.
    if (exchange?.isAnsweredWhole && this.#exchange === exchange) this.#release(exchange)
  }

  drained(): void {
    this.#exchange?.drained()
  }

  finished(): void {
    this.#over()
  }

  closed(failure: Error | null): void {
    this.#failure = failure
    this.#over()
    this.#deps.onClosed(this)
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

  #release(exchange: HttpExchange): void {
    this.#exchange = null
    if (!this.#isKeptAlive || !exchange.isSent) {
      this.#wire.destroy()
      return
    }
    // The last piece of a body may have been more than its slow reader had room for.
    this.#wire.resume()
    this.#deps.onFree(this)
  }

  #readKeepAlive({ isKeptAlive, idleSec }: HttpHead): void {
    this.#isKeptAlive = isKeptAlive
    if (idleSec !== null) this.#idleMs = Math.min(longestIdleMs, Math.max(0, idleSec * 1000 - 1000))
  }

  #over(): void {
    const exchange = this.#exchange
    if (!exchange) {
      this.#wire.destroy()
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
        this.#wire.destroy()
        return
      }
    }
    const reason = this.#failure
      ? `${codeOf(this.#failure) ?? ''} ${messageOf(this.#failure)}`
      : 'it closed the connection'
    this.#fail(!this.#isConnected ? 'unsent' : this.#isReused && !exchange.isSeen ? 'stale' : 'lost', reason)
  }

  #fail(fault: UpstreamFault, message: string): void {
    const exchange = this.#exchange
    this.destroy()
    exchange?.fail(new UpstreamError(fault, message))
  }
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
