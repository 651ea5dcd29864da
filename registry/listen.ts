import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'

export type Listening = { server: Server; close(): Promise<void> }

/**
 * Serves HTTP on a unix socket that only this user (and root) may connect to; a left-over socket file is replaced. `close` stops accepting
 * and lets requests in flight end for two seconds; streams without an end are cut then.
 */
export async function listenOnSocket(path: string, handler: RequestListener): Promise<Listening> {
  await rm(path, { force: true })
  // Long uploads and long streams are this server's daily bread: only idle connections are timed out, by their handlers.
  const server = createServer({ requestTimeout: 0, headersTimeout: 15_000, keepAliveTimeout: 65_000 }, handler)
  server.listen(path)
  await once(server, 'listening')
  await chmod(path, 0o600)
  return {
    server,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      const cut = setTimeout(() => server.closeAllConnections(), 2000)
      await closed
      clearTimeout(cut)
    },
  }
}
