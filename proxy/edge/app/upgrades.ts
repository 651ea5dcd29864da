import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { createProxyServer } from 'httpxy'
import { closeLingering } from '../../../registry/lingering-close.ts'
import type { InFlight } from '../drain.ts'
import { invalidResponse, type Notice, noticeResponse } from '../pages.ts'
import { toHeaderObject } from './header-pairs.ts'
import { type Forwarding, forwardHeaders } from './request-headers.ts'
import { rawHead, readResponseHead } from './response-head.ts'
import { WebSocketTunnel } from './websocket-tunnel.ts'

export type UpgradeCall = {
  request: IncomingMessage
  socket: Socket
  head: Buffer
  target: string
  address: { socketPath: string } | { host: string; port: number }
  forwarding: Forwarding
  /** Flat pairs for the handshake's response. */
  headers: string[]
  /** What to say when the handshake fails without an answer. */
  onFailure: (error: Error) => Notice
  /** Told the status of its answer. */
  onAnswer?: (status: number) => void
}

const handshakeTimeoutMs = 30_000
const lingerMs = 5_000

/**
 * WebSockets, carried by httpxy. What it leaves open is closed here: the handshake's answer is checked before it is written, either side
 * that goes takes the other with it, and a failed handshake gets an answer.
 */
export class Upgrades {
  readonly #proxy = createProxyServer({ upgradeTimeout: handshakeTimeoutMs })
  readonly #calls = new WeakMap<object, UpgradeCall>()
  readonly #clients = new WeakMap<object, Socket>()
  readonly #tunnels = new WeakMap<Socket, WebSocketTunnel>()
  readonly #cookieSuffix: string

  constructor({ cookieSuffix }: { cookieSuffix: string }) {
    this.#cookieSuffix = cookieSuffix
    this.#proxy.on('proxyReqWs', (outgoing, _request, socket) => this.#watch(outgoing, this.#calls.get(socket)))
    // When httpxy has begun to carry the bytes, not before: whoever listens to a stream first would get its first bytes alone.
    this.#proxy.on('open', (upstream) => {
      const client = this.#clients.get(upstream)
      if (client) this.#tunnels.set(client, new WebSocketTunnel(client, upstream))
    })
    this.#proxy.on('error', (error, _request, socket) => {
      const call = socket && this.#calls.get(socket)
      if (call?.socket.writable) refuse(call, call.onFailure(error))
    })
  }

  /** Passes a handshake on; the socket then lives until either side closes it. */
  pass(call: UpgradeCall): void {
    const { request, socket, head, target, address, forwarding } = call
    this.#calls.set(socket, call)
    request.headers = {
      ...toHeaderObject(forwardHeaders(request, forwarding)),
      connection: 'Upgrade',
      upgrade: 'websocket',
    }
    request.url = target
    // Failures arrive at the error listener; the promise only repeats them.
    this.#proxy.ws(request, socket, { target: address }, head).catch(() => socket.destroy())
  }

  /** Counts the socket until it closes. Whoever cuts what is in flight has it told, not cut like a response. */
  count(socket: Socket, inFlight: InFlight): void {
    const place = inFlight.begin({ destroy: () => this.end(socket) })
    socket.once('close', () => inFlight.end(place))
  }

  /** Ends what came of a handshake: an open WebSocket is told that the service restarts. */
  end(socket: Socket): void {
    const tunnel = this.#tunnels.get(socket)
    if (tunnel) tunnel.restart()
    else socket.destroy()
  }

  // Attached before httpxy's own listeners, so that it sees only what has been checked.
  #watch(outgoing: ClientRequest, call: UpgradeCall | undefined): void {
    if (!call) return
    const { socket } = call
    socket.once('close', () => outgoing.destroy())
    outgoing.on('response', (response) => {
      call.onAnswer?.(response.statusCode ?? 0)
      const head = readResponseHead(rawHead(response), { cookieSuffix: this.#cookieSuffix })
      if ('invalid' in head) refuse(call, invalidResponse('The app', head.invalid))
      else response.headers = toHeaderObject([...head.headers, ...call.headers])
    })
    outgoing.on('upgrade', (response, upstream) => {
      this.#calls.delete(socket)
      call.onAnswer?.(101)
      response.headers = { ...toHeaderObject(call.headers), ...handshakeHeaders(response) }
      this.#clients.set(upstream, socket)
      socket.once('close', () => upstream.destroy())
      upstream.once('close', () => {
        socket.end()
        setTimeout(() => socket.destroy(), lingerMs).unref()
      })
    })
  }
}

/** Answers a handshake with a page or JSON and closes the connection. */
export function refuse({ socket, request }: Pick<UpgradeCall, 'socket' | 'request'>, notice: Notice): void {
  closeLingering(socket, noticeResponse(notice, request.headers.accept))
}

function handshakeHeaders({ headers }: IncomingMessage): IncomingMessage['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('x-atelier-')))
}
