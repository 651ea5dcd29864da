import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { type Server as NetServer, Socket } from 'node:net'
import { type Duplex, pipeline } from 'node:stream'
import { type Egress, EgressRefused, type Place } from '../../registry/egress/egress.ts'
import { messageOf } from '../../registry/errors.ts'
import { createLog } from '../../registry/log.ts'
import { endToEnd, parseAbsolute, parseAuthority, reasonPhrase } from './egress-messages.ts'

export type RelayLimits = {
  connections: number
  headersTimeoutMs: number
  /** A connection over which nothing went for this long is closed. */
  idleTimeoutMs: number
}

export const relayLimits: RelayLimits = { connections: 256, headersTimeoutMs: 10_000, idleTimeoutMs: 120_000 }

/** Bytes that came from outside and went there. */
export type EgressUse = { received: number; sent: number }

/** One client at a time: a build. */
export type RelaySession = {
  /** So far. */
  use(): EgressUse
  /** Ends all its connections. */
  end(): void
}

/**
 * The HTTP proxy that is all the network a build has: CONNECT for TLS and whatever else, and requests for `http://…`. Its clients are
 * hostile: each is bounded in number, time and size, and none of them ends anything but its own connection. Without a session every
 * connection is closed.
 */
export class EgressRelay {
  readonly #server: Server
  readonly #egress: Egress
  readonly #limits: RelayLimits
  #session: Session | null = null

  /** Takes over a socket that listens, wherever that is. */
  constructor(listening: NetServer, { egress, limits = relayLimits }: { egress: Egress; limits?: RelayLimits }) {
    this.#egress = egress
    this.#limits = limits
    this.#server = createServer({
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: 30_000,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: 16_384,
    })
    this.#server.maxConnections = limits.connections
    this.#server.timeout = limits.idleTimeoutMs
    this.#server.on('connection', (socket) => this.#admit(socket))
    this.#server.on('clientError', (_error, socket) => answer(socket, 400, 'not a request that a proxy understands'))
    this.#server.on('connect', (asked, socket, head) => void this.#tunnel(asked, socket, head))
    this.#server.on('request', (asked, response) => void this.#forward(asked, response))
    this.#server.on('error', (error) => log.error({ err: error }, 'relay cannot listen'))
    this.#server.listen(listening)
  }

  /** Ends the former session. `onRefusal` is given a sentence for people, each once. */
  begin(onRefusal: (sentence: string) => void): RelaySession {
    this.#session?.end()
    const session = new Session(onRefusal)
    this.#session = session
    return {
      use: () => session.use,
      end: () => {
        session.end()
        if (this.#session === session) this.#session = null
      },
    }
  }

  /** Ends every connection and stops listening. */
  async close(): Promise<void> {
    const closed = new Promise<void>((done) => this.#server.close(() => done()))
    this.#session?.end()
    this.#session = null
    this.#server.closeAllConnections()
    await closed
  }

  #admit(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    socket.on('timeout', () => socket.destroy())
    if (this.#session) this.#session.addInside(socket)
    else socket.destroy()
  }

  async #tunnel(asked: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const place = parseAuthority(asked.url ?? '')
    if (!place) return answer(socket, 400, 'CONNECT takes a host name or an address, and a port from 1 to 65535')
    const left = new AbortController()
    socket.once('close', () => left.abort())
    try {
      const outside = await this.#dial(place, left.signal)
      if (socket.destroyed) return void outside.destroy()
      if (socket instanceof Socket) socket.setTimeout(this.#limits.idleTimeoutMs).setNoDelay(true)
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      if (head.length > 0) outside.write(head)
      // Each ends with the other, whichever way it ended.
      pipeline(outside, socket, () => undefined)
      pipeline(socket, outside, () => undefined)
    } catch (thrown) {
      this.#refuse(thrown, (status, sentence) => answer(socket, status, sentence))
    }
  }

  async #forward(asked: IncomingMessage, response: ServerResponse): Promise<void> {
    asked.on('error', () => undefined) // whoever leaves in mid-request has nothing more to be told
    response.on('error', () => undefined)
    const target = parseAbsolute(asked.url ?? '')
    if (!target) return reply(response, 400, 'this is a relay: ask it for http://… or with CONNECT')
    const { url, place } = target
    const left = new AbortController()
    response.once('close', () => left.abort())
    try {
      const outside = await this.#dial(place, left.signal)
      if (response.destroyed) return void outside.destroy()
      const sent = request({
        method: asked.method,
        path: `${url.pathname}${url.search}`,
        headers: [...endToEnd(asked.rawHeaders), 'Host', url.host, 'Connection', 'close'],
        createConnection: () => outside,
      })
      sent.once('response', (answered) => passOn(answered, response))
      sent.once('upgrade', (_answered, socket) => socket.destroy())
      sent.on('error', () => reply(response, 502, `${url.host} closed the connection`))
      response.once('close', () => outside.destroy())
      pipeline(asked, sent, () => undefined)
    } catch (thrown) {
      this.#refuse(thrown, (status, sentence) => reply(response, status, sentence))
    }
  }

  async #dial(place: Place, signal: AbortSignal): Promise<Socket> {
    const session = this.#session
    if (!session) throw new EgressRefused(502, 'the build is over')
    const socket = await this.#egress.dial(place, AbortSignal.any([signal, session.signal]))
    socket.on('error', () => socket.destroy())
    socket.setTimeout(this.#limits.idleTimeoutMs, () => socket.destroy())
    session.addOutside(socket)
    return socket
  }

  #refuse(thrown: unknown, tell: (status: number, sentence: string) => void): void {
    if (thrown instanceof EgressRefused) {
      tell(thrown.status, thrown.message)
      this.#session?.sayOnce(thrown.message)
      return
    }
    log.error({ err: thrown }, 'relay failed')
    tell(502, `the relay failed: ${messageOf(thrown)}`)
  }
}

const mostSaid = 20
const log = createLog('sandbox')

class Session {
  readonly #onRefusal: (sentence: string) => void
  readonly #ended = new AbortController()
  readonly #inside = new Set<Socket>()
  readonly #outside = new Set<Socket>()
  readonly #past: EgressUse = { received: 0, sent: 0 }
  readonly #said = new Set<string>()

  constructor(onRefusal: (sentence: string) => void) {
    this.#onRefusal = onRefusal
  }

  get signal(): AbortSignal {
    return this.#ended.signal
  }

  get use(): EgressUse {
    const use = { ...this.#past }
    for (const socket of this.#outside) addUse(use, socket)
    return use
  }

  addInside(socket: Socket): void {
    this.#inside.add(socket)
    socket.once('close', () => this.#inside.delete(socket))
  }

  addOutside(socket: Socket): void {
    this.#outside.add(socket)
    socket.once('close', () => {
      this.#outside.delete(socket)
      addUse(this.#past, socket)
    })
    if (this.signal.aborted) socket.destroy()
  }

  sayOnce(sentence: string): void {
    if (this.signal.aborted || this.#said.size >= mostSaid || this.#said.has(sentence)) return
    this.#said.add(sentence)
    this.#onRefusal(sentence)
  }

  end(): void {
    this.#ended.abort()
    for (const socket of [...this.#inside, ...this.#outside]) socket.destroy()
  }
}

function passOn(answered: IncomingMessage, response: ServerResponse): void {
  try {
    response.writeHead(answered.statusCode ?? 502, answered.statusMessage, endToEnd(answered.rawHeaders))
    pipeline(answered, response, () => undefined)
  } catch (thrown) {
    answered.destroy()
    reply(response, 502, `the answer cannot be passed on: ${messageOf(thrown)}`)
  }
}

function reply(response: ServerResponse, status: number, sentence: string): void {
  if (response.headersSent) return void response.destroy()
  const body = `${sentence}\n`
  const type = { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) }
  response.writeHead(status, reasonPhrase(sentence), { ...type, connection: 'close' }).end(body)
}

function answer(socket: Duplex, status: number, sentence: string): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy()
  const body = `${sentence}\n`
  const head = [
    `HTTP/1.1 ${status} ${reasonPhrase(sentence)}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

function addUse(use: EgressUse, { bytesRead, bytesWritten }: Socket): void {
  use.received += bytesRead
  use.sent += bytesWritten
}
