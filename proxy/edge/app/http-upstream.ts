import { HttpConnection, HttpExchange, type HttpLimits } from './http-connection.ts'
import { type Exchange, type Recipient, type Upstream, UpstreamError, type UpstreamRequest } from './upstream.ts'

export type HttpUpstreamLimits = HttpLimits

const maxConnections = 1024
const maxFree = 256
const maxWaiting = 4096
// Between two looks for connections that are quiet for too long.
const looks = 8

/**
 * Requests to an app as HTTP/1.1 over its unix socket, on kept-alive connections. Not by node:http's client, which took most of what such a request
 * cost the edge (docs/decisions/0012-http-client.md).
 */
export class HttpUpstream implements Upstream {
  readonly socketPath: string
  readonly speaks = 'http'
  readonly #limits: HttpUpstreamLimits
  readonly #all = new Set<HttpConnection>()
  /** The one used last is used first, so that those nobody needs grow old. */
  readonly #free: HttpConnection[] = []
  #waiting: { exchange: HttpExchange; since: number }[] = []
  readonly #looking: NodeJS.Timeout

  constructor(socketPath: string, limits: HttpUpstreamLimits) {
    this.socketPath = socketPath
    this.#limits = limits
    const shortestMs = Math.min(limits.headTimeoutMs, limits.idleTimeoutMs, 4_000)
    this.#looking = setInterval(() => this.#look(), shortestMs / looks)
  }

  send(request: UpstreamRequest, recipient: Recipient, { fresh = false }: { fresh?: boolean } = {}): Exchange {
    const exchange = new HttpExchange(request, recipient, this.#limits)
    const connection = (fresh ? null : this.#takeFree()) ?? (this.#all.size < maxConnections ? this.#connect() : null)
    if (connection) exchange.on(connection)
    else if (this.#waiting.length < maxWaiting) this.#waiting.push({ exchange, since: performance.now() })
    else process.nextTick(() => exchange.fail(new UpstreamError('unsent', 'the app has all connections in use')))
    return exchange
  }

  get inFlight(): number {
    return this.#all.size - this.#free.length + this.#waiting.length
  }

  close(): void {
    clearInterval(this.#looking)
    for (const connection of this.#all) connection.close()
    for (const { exchange } of this.#waiting.splice(0)) exchange.fail(new UpstreamError('unsent', 'the app has ended'))
  }

  #takeFree(): HttpConnection | null {
    for (let connection = this.#free.pop(); connection; connection = this.#free.pop()) {
      if (connection.isUsable) return connection
      connection.destroy()
    }
    return null
  }

  #connect(): HttpConnection {
    const connection = new HttpConnection(this.socketPath, {
      limits: this.#limits,
      onFree: (free) => this.#reuse(free),
      onClosed: (closed) => this.#forget(closed),
    })
    this.#all.add(connection)
    return connection
  }

  #reuse(connection: HttpConnection): void {
    const next = this.#nextWaiting()
    if (next) next.on(connection)
    else if (this.#free.length < maxFree) this.#free.push(connection)
    else connection.destroy()
  }

  #forget(connection: HttpConnection): void {
    this.#all.delete(connection)
    const at = this.#free.indexOf(connection)
    if (at !== -1) this.#free.splice(at, 1)
    const next = this.#nextWaiting()
    if (next) next.on(this.#connect())
  }

  #nextWaiting(): HttpExchange | null {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift())
      if (!next.exchange.isOver) return next.exchange
    return null
  }

  #look(): void {
    const now = performance.now()
    for (const connection of this.#all) connection.look(now)
    if (this.#waiting.length > 0) this.#lookAtWaiting(now)
  }

  // All connections may be in event streams, which end when they like.
  #lookAtWaiting(now: number): void {
    const { headTimeoutMs } = this.#limits
    for (const { exchange, since } of this.#waiting)
      if (now - since >= headTimeoutMs) exchange.fail(new UpstreamError('timeout', 'no connection was free in time'))
    this.#waiting = this.#waiting.filter(({ exchange }) => !exchange.isOver)
  }
}
