// Takes the app's listen() to the socket the platform has opened for it. Node builtins only.
import type { Server as HttpServer } from 'node:http'
import net, { type Server, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { lanesTo, mayHaveLanes } from './isolate-lanes.ts'

export type RedirectedServer = {
  /** Serves the isolate channel on the platform's socket; for apps that leave listening to us. */
  listen(server: Server): void
  isTaken(): boolean
  /** Stops accepting, closes idle connections, resolves when the last request is answered. */
  drain(): Promise<void>
}

type Asked = { port: number; host: string | null; path: string | null; signal: AbortSignal | undefined }
type Listen = (this: Server, ...args: unknown[]) => Server

/** What is spoken on the platform's socket; `lanes`: HTTP, and beside it there are lanes (docs/lanes.md). */
export type Speech = 'http' | 'lanes' | 'channel'

const listeningHandlers: ((speaks: Speech) => void)[] = []

export function onListening(handler: (speaks: Speech) => void): void {
  listeningHandlers.push(handler)
}

/**
 * The first server of the app that can answer requests gets descriptor `fd`, whatever port or path it asked for, so a fixed port
 * collides with nobody. Further servers (metrics, a probe for a free port) get a free port on the loopback address.
 */
export function redirectListen(fd: number, lanesFd: number | null): RedirectedServer {
  const original = net.Server.prototype.listen
  const listen: Listen = function (...args) {
    return Reflect.apply(original, this, args)
  }
  let taken: Server | null = null

  const take = (server: Server, asked: Asked, speaks: 'http' | 'channel') => {
    taken = server
    const hasLanes = lanesFd !== null && isHttp(server) && mayHaveLanes(server)
    pretendTcp(server, asked)
    if (isHttp(server)) leaveClosingToTheProxy(server)
    if (hasLanes) listen.call(lanesTo(server), { fd: lanesFd })
    server.once('listening', () => {
      for (const handler of listeningHandlers) handler(hasLanes ? 'lanes' : speaks)
    })
    return listen.call(server, { fd, signal: asked.signal })
  }
  const redirected: Listen = function (...args) {
    const callback = args.findLast((arg) => typeof arg === 'function')
    const asked = whatIsAsked(args)
    if (taken || !answersRequests(this)) return listenAside(listen, this, asked, callback, taken)
    if (speaksTls(this)) return refuseTls(this)
    if (typeof callback === 'function') this.once('listening', () => callback.call(this))
    return take(this, asked, 'http')
  }
  Object.defineProperty(net.Server.prototype, 'listen', { configurable: true, writable: true, value: redirected })

  return {
    listen: (server) => void take(server, { port: 0, host: null, path: null, signal: undefined }, 'channel'),
    isTaken: () => taken !== null,
    drain: async () => {
      if (taken?.listening) await close(taken)
    },
  }
}

// A bare net server without a connection handler is a probe for a free port.
function answersRequests(server: Server): boolean {
  return server.listenerCount('connection') > 0 || server.listenerCount('secureConnection') > 0
}

// net.Server.listen: (port, host?, backlog?), (path, backlog?), (options); each with a callback last.
function whatIsAsked([first, second]: unknown[]): Asked {
  if (typeof first === 'object' && first !== null) {
    const options: { port?: unknown; host?: unknown; path?: unknown; signal?: unknown } = first
    return {
      port: Number(options.port ?? 0),
      host: typeof options.host === 'string' ? options.host : null,
      path: typeof options.path === 'string' && options.port === undefined ? options.path : null,
      signal: options.signal instanceof AbortSignal ? options.signal : undefined,
    }
  }
  const isPath = typeof first === 'string' && !/^\d+$/.test(first)
  return {
    port: isPath || typeof first === 'function' ? 0 : Number(first ?? 0),
    host: !isPath && typeof second === 'string' ? second : null,
    path: isPath ? first : null,
    signal: undefined,
  }
}

// To the app the socket looks like the port it asked for, and every peer like a proxy on this machine.
function pretendTcp(server: Server, { port, host, path }: Asked): void {
  const shownPort = port || Number(process.env['PORT']) || 3000
  const family = host?.includes(':') || host === null ? 'IPv6' : 'IPv4'
  const address = host && net.isIP(host) ? host : host === null ? '::' : '127.0.0.1'
  server.address = () => (server.listening ? (path ?? { address, family, port: shownPort }) : null)
  server.prependListener('connection', (socket: Socket) => {
    Object.defineProperties(socket, {
      remoteAddress: { value: '127.0.0.1', configurable: true },
      remoteFamily: { value: 'IPv4', configurable: true },
      remotePort: { value: shownPort, configurable: true },
      localAddress: { value: '127.0.0.1', configurable: true },
      localFamily: { value: 'IPv4', configurable: true },
      localPort: { value: shownPort, configurable: true },
    })
  })
}

// Told by their methods: importing node:tls and node:http for their classes alone costs every start 40 ms.
function isHttp(server: Server): server is HttpServer {
  return 'closeIdleConnections' in server
}

function speaksTls(server: Server): boolean {
  return 'setSecureContext' in server
}

// Node's own 5 s would close a connection under the proxy's next request; the proxy closes idle ones first. Without a time there is no timer to
// set and to clear for every answer, and no header that names it.
function leaveClosingToTheProxy(server: HttpServer): void {
  if (server.keepAliveTimeout === nodeKeepAliveMs) server.keepAliveTimeout = 0
}

const nodeKeepAliveMs = 5000

function listenAside(listen: Listen, server: Server, asked: Asked, callback: unknown, taken: Server | null): Server {
  const isOtherPort = taken !== null && asked.port !== 0 && asked.port !== portOf(taken)
  if (isOtherPort) {
    server.once('listening', () => {
      const { port } = server.address() as net.AddressInfo
      process.stderr.write(
        `atelier: port ${asked.port} is not reachable from outside; this server listens on 127.0.0.1:${port}\n`,
      )
    })
  }
  const place = asked.path === null ? { port: 0, host: '127.0.0.1' } : { path: asked.path }
  return listen.call(server, { ...place, signal: asked.signal }, callback)
}

function portOf(server: Server): number | null {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : null
}

function refuseTls(server: Server): Server {
  const message = 'this server speaks TLS itself; listen with node:http, the platform ends TLS in front of it'
  process.nextTick(() => server.emit('error', Object.assign(new Error(message), { code: 'ATELIER_TLS' })))
  return server
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((done) => server.close(() => done()))
  if (!isHttp(server)) return closed
  let isClosed = false
  closed.then(() => {
    isClosed = true
  })
  // A connection becomes idle again after its last answer, and close() looks only once.
  while (!isClosed) {
    server.closeIdleConnections()
    await Promise.race([closed, wait(50)])
  }
}
