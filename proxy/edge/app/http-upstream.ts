import { LaneClient } from '../../../sandbox/isolate/lane-client.ts'
import { lanesPath } from '../../../sandbox/isolate/lanes-path.ts'
import type { HttpConnection, HttpLimits } from './http-connection.ts'
import { HttpExchange } from './http-exchange.ts'
import { SocketWire } from './http-wire.ts'
import { KeptConnections } from './kept-connections.ts'
import { type Exchange, type Recipient, type Upstream, UpstreamError, type UpstreamRequest } from './upstream.ts'

export type HttpUpstreamLimits = HttpLimits

const maxConnections = 1024
const maxFree = 256
const maxWaiting = 4096
// Between two looks for connections that are quiet for too long.
const looks = 8
// A larger body, or one of unknown length, has a socket of its own, where whoever is slow holds up nobody else.
const largestOnLane = 65_536

type Waiting = { exchange: HttpExchange; since: number }

/**
 * Requests to an app as HTTP/1.1, on kept-alive connections: on lanes where its host offers them (docs/lanes.md), else over its unix socket. Not by
 * node:http's client, which took most of what such a request cost the edge (docs/decisions/0012-http-client.md).
 */
export class HttpUpstream implements Upstream {
  readonly socketPath: string
  readonly speaks
  readonly #limits: HttpUpstreamLimits
  readonly #sockets: KeptConnections
  readonly #lanes: KeptConnections | null = null
  readonly #laneClient: LaneClient
  #waiting: Waiting[] = []
  readonly #looking: NodeJS.Timeout

  constructor(socketPath: string, limits: HttpUpstreamLimits, speaks: 'http' | 'lanes' = 'http') {
    this.socketPath = socketPath
    this.speaks = speaks
    this.#limits = limits
    const shortestMs = Math.min(limits.headTimeoutMs, limits.idleTimeoutMs, 4_000)
    this.#looking = setInterval(() => this.#look(), shortestMs / looks)
    const onFree = (connection: HttpConnection, isLane: boolean) => this.#giveToWaiting(connection, isLane)
    const onClosed = () => this.#connectForWaiting()
    this.#sockets = new KeptConnections((listener) => new SocketWire(socketPath, listener), {
      ...{ limits, maxFree, onClosed, onFree: (connection) => onFree(connection, false) },
    })
    this.#laneClient = new LaneClient(lanesPath(socketPath))
    if (speaks === 'lanes')
      this.#lanes = new KeptConnections((listener) => this.#laneClient.open(listener), {
        ...{ limits, maxFree: maxConnections, onClosed, onFree: (connection) => onFree(connection, true) },
      })
  }

  send(request: UpstreamRequest, recipient: Recipient, { fresh = false }: { fresh?: boolean } = {}): Exchange {
    const exchange = new HttpExchange(request, recipient, this.#limits)
    const connection = fresh
      ? this.#connect()
      : (this.#takeLane(request) ?? this.#sockets.takeFree() ?? this.#connect())
    if (connection) exchange.on(connection)
    else if (this.#waiting.length < maxWaiting) this.#waiting.push({ exchange, since: performance.now() })
    else process.nextTick(() => exchange.fail(new UpstreamError('unsent', 'the app has all connections in use')))
    return exchange
  }

  get inFlight(): number {
    return this.#sockets.busy + (this.#lanes?.busy ?? 0) + this.#waiting.length
  }

  close(): void {
    clearInterval(this.#looking)
    this.#sockets.close()
    this.#lanes?.close()
    this.#laneClient.close()
    for (const { exchange } of this.#waiting.splice(0)) exchange.fail(new UpstreamError('unsent', 'the app has ended'))
  }

  // Only one that is open: what has been said on it the app may have seen. A further one is opened for those who come later.
  #takeLane(request: UpstreamRequest): HttpConnection | null {
    const lanes = this.#lanes
    if (!lanes || !mayTakeLane(request)) return null
    const lane = lanes.takeFree()
    if (!lane && this.#laneClient.hasRoom) lanes.connect()
    return lane
  }

  #connect(): HttpConnection | null {
    return this.#sockets.size < maxConnections ? this.#sockets.connect() : null
  }

  #giveToWaiting(connection: HttpConnection, isLane: boolean): boolean {
    const next = this.#nextWaiting((request) => !isLane || mayTakeLane(request))
    next?.on(connection)
    return next !== null
  }

  #connectForWaiting(): void {
    if (this.#waiting.length === 0 || this.#sockets.size >= maxConnections) return
    this.#nextWaiting(() => true)?.on(this.#sockets.connect())
  }

  #nextWaiting(isFit: (request: UpstreamRequest) => boolean): HttpExchange | null {
    while (this.#waiting[0]?.exchange.isOver) this.#waiting.shift()
    const at = this.#waiting.findIndex(({ exchange }) => !exchange.isOver && isFit(exchange.request))
    return at === -1 ? null : (this.#waiting.splice(at, 1)[0]?.exchange ?? null)
  }

  #look(): void {
    const now = performance.now()
    this.#sockets.look(now)
    this.#lanes?.look(now)
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

function mayTakeLane({ bodyLength }: UpstreamRequest): boolean {
  return bodyLength !== null && bodyLength <= largestOnLane
}
