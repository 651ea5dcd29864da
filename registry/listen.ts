import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTcpServer, type Server as TcpServer } from 'node:net'
import { AppError, codeOf } from './errors.ts'
import { lingerAtEnd } from './lingering-close.ts'

export type Listening = { server: Server; close(): Promise<void> }

/** An address of this machine for the other parts of the platform: `host` as given, an IPv6 address without its brackets. */
export type ListenAddress = { host: string; port: number }

/**
 * Serves HTTP on a unix socket that only this user (and root) may connect to; a left-over socket file is replaced. `alsoOn`: and on a TCP
 * address, for a proxy on another machine. `close` stops accepting and lets requests in flight end for two seconds; streams without an end
 * are cut then. Throws PORT_IN_USE.
 */
export async function listenOnSocket(
  path: string,
  handler: RequestListener,
  { alsoOn = null }: { alsoOn?: ListenAddress | null } = {},
): Promise<Listening> {
  await rm(path, { force: true })
  // Long uploads and long streams are this server's daily bread: only idle connections are timed out, by their handlers.
  const server = createServer({ requestTimeout: 0, headersTimeout: 15_000, keepAliveTimeout: 65_000 }, handler)
  // An upload may be refused long before it is whole, and most who send one read the answer behind it. What answers here (@hono/node-server) would end
  // the connection half a second later.
  server.on('request', (request) => lingerAtEnd(request))
  const tcp = alsoOn && (await listenOnTcp(alsoOn, server))
  server.listen(path)
  await once(server, 'listening')
  await chmod(path, 0o600)
  return {
    server,
    async close() {
      const closed = [server, ...(tcp ? [tcp] : [])].map((one) => once(one, 'close'))
      tcp?.close()
      server.close()
      server.closeIdleConnections()
      const cut = setTimeout(() => server.closeAllConnections(), 2000)
      await Promise.all(closed)
      clearTimeout(cut)
    },
  }
}

// One HTTP server, two ways in: what is set on it (timeouts, error handlers) holds for both. Keep-alive finds peers that vanished.
async function listenOnTcp({ host, port }: ListenAddress, server: Server): Promise<TcpServer> {
  const tcp = createTcpServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 },
    (socket) => server.emit('connection', socket),
  )
  try {
    tcp.listen(port, host)
    await once(tcp, 'listening')
    return tcp
  } catch (cause) {
    const why = codeOf(cause) === 'EADDRINUSE' ? 'it is taken by another program' : codeOf(cause)
    throw new AppError('PORT_IN_USE', `${host}:${port} cannot be listened on (${why}); name another address`, { cause })
  }
}
