import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { type AddressInfo, Socket } from 'node:net'
import { codeOf } from '../../registry/errors.ts'
import { closeLingering, isLingering, lingerAtEnd } from '../../registry/lingering-close.ts'
import type { Log } from '../../registry/log.ts'
import { type ListenOptions, listenOn } from '../port.ts'
import { ConnectionCaps } from './connection-caps.ts'
import { answerEarly } from './early-answers.ts'
import type { Edge } from './edge.ts'
import { handshakeBody } from './guard.ts'
import { IdleConnections } from './idle-connections.ts'
import { badRequest, noticeResponse, tooManyConnections } from './pages.ts'
import type { TrustedProxies } from './trusted-proxies.ts'

export type ListenerLimits = { headersTimeoutMs: number; maxConnections: number; maxConnectionsPerClient: number }
export type ListenerDeps = { limits: ListenerLimits; trusted: TrustedProxies; log: Log }

const keepAliveMs = 65_000
const notHttp = 'it is not HTTP/1.1 as this server reads it'

/** The edge's TCP front: an HTTP/1.1 server with the limits of security.md §5 in front of an `Edge`. */
export class Listener {
  readonly #server: Server
  readonly #edge: Edge
  readonly #idle: IdleConnections

  private constructor(server: Server, edge: Edge, idle: IdleConnections) {
    this.#server = server
    this.#edge = edge
    this.#idle = idle
  }

  /** Throws PORT_IN_USE. */
  static async open(edge: Edge, where: ListenOptions, deps: ListenerDeps): Promise<Listener> {
    const idle = new IdleConnections(keepAliveMs)
    const server = createEdgeServer(edge, idle, deps)
    await listenOn(server, where)
    return new Listener(server, edge, idle)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Stops accepting, lets requests in flight end for at most `deadlineMs`, then cuts the rest. Streams without end are cut at once, WebSockets told why. */
  async close(deadlineMs: number): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#edge.lastAnswers()
    const cut = this.#edge.cutEndless()
    this.#server.closeIdleConnections()
    await Promise.all([this.#edge.inFlight.drained(deadlineMs), cut])
    this.#server.closeAllConnections()
    this.#idle.close()
    await closed
  }
}

function createEdgeServer(edge: Edge, idle: IdleConnections, { limits, trusted, log }: ListenerDeps): Server {
  const caps = new ConnectionCaps(limits.maxConnectionsPerClient, { trusted, log })
  const server = createServer({
    headersTimeout: limits.headersTimeoutMs,
    // Uploads take as long as they take; one that stands still is ended by the stall watch.
    requestTimeout: 0,
    // `idle` closes them.
    keepAliveTimeout: 0,
    connectionsCheckingInterval: limits.headersTimeoutMs / 5,
    maxHeaderSize: 16_384,
    requireHostHeader: false,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    optimizeEmptyRequests: true,
    shouldUpgradeCallback: isWebSocket,
  })
  // No limit: Node would drop what is over it in silence. The guard counts.
  server.maxHeadersCount = 0
  server.maxConnections = limits.maxConnections
  server.on('connection', (socket) => {
    if (!caps.admit(socket)) edge.turnAway(socket, tooManyConnections())
    else {
      idle.add(socket)
      answerEarly(socket, (request) => {
        try {
          return isLingering(socket) ? null : edge.answerEarly(request)
        } catch (thrown) {
          log.error({ err: thrown }, 'request not handled')
          socket.destroy()
          return 'whole'
        }
      })
    }
  })
  server.on('request', (request, response) => {
    if (isLingering(request.socket)) {
      request.resume()
      return
    }
    if (!request.readableEnded) lingerAtEnd(request)
    // What nobody foresaw costs the request that brought it, and not all that are served here.
    try {
      edge.handle(request, response)
    } catch (thrown) {
      log.error({ err: thrown }, 'request not handled')
      response.destroy()
    }
  })
  server.on('upgrade', (request, socket, head) => {
    if (socket instanceof Socket) {
      idle.leave(socket)
      edge.upgrade(request, socket, head)
    }
    // Of a handshake with a body in chunks Node makes a stream of its own.
    else closeLingering(request.socket, noticeResponse(badRequest(400, handshakeBody)))
  })
  server.on('clientError', (error, socket) => {
    if (isLingering(socket)) return
    const code = codeOf(error)
    // Bytes behind a request that said it was the last are nobody's; that request gets its answer.
    if (code === 'HPE_CLOSED_CONNECTION') return
    if (code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    // What has been said to the end, or begun, is still delivered.
    if (!(socket instanceof Socket)) socket.destroy()
    else if (!socket.writable || hasBegunToAnswer(socket)) Socket.prototype.destroySoon.call(socket)
    // Who drips a head (security.md E5) has had the time for it: no reading on.
    else if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
      socket.end(noticeResponse(badRequest(408, notHttp)), () => socket.destroy())
    else closeLingering(socket, noticeResponse(badRequest(statusOf(code), notHttp)))
  })
  return server
}

// Every other protocol named in Upgrade (h2c above all) is ignored, as RFC 9110 §7.8 allows: the request is answered as it is.
function isWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket'
}

// Words of ours in the middle of an answer would be read as part of it. Node, too, looks here before it writes its own 400.
function hasBegunToAnswer(socket: object): boolean {
  const response: unknown = Reflect.get(socket, '_httpMessage')
  return response instanceof ServerResponse && response.headersSent
}

function statusOf(code: string | undefined): number {
  if (code === 'HPE_HEADER_OVERFLOW') return 431
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
}
