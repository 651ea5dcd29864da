import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { AppError, codeOf } from '../registry/errors.ts'

const patienceMs = 2_000
const retryMs = 50

/** `shares`: with other processes of the same user that listen in the same way. */
export type ListenOptions = { host: string; port: number; shares?: boolean }

/** Listens. Throws PORT_IN_USE. */
export async function listenOn(server: Server, { host, port, shares = false }: ListenOptions): Promise<void> {
  server.listen({ port, host, reusePort: shares, backlog: 4096 })
  try {
    await once(server, 'listening')
  } catch (cause) {
    const code = codeOf(cause)
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw cause
    const message =
      code === 'EACCES'
        ? `port ${port} is not open to this user; choose one from 1024: ATELIER_HTTP_PORT=8080`
        : `port ${port} is taken by another program; free it, or choose one: ATELIER_HTTP_PORT=8081`
    throw new AppError('PORT_IN_USE', message, { cause })
  }
}

/**
 * Makes sure that nobody listens on the port, for the edge processes that will: they share it with whoever allows that, so another
 * Atelier of the same user on it would get half of the connections without anybody's noticing. Returns the address to listen on: the one
 * given, or `::`, which takes IPv4 too, or `0.0.0.0` on a machine without IPv6. Throws PORT_IN_USE, after a moment: edge processes of a
 * main process that was killed end by themselves.
 */
export async function claimPort({ host, port }: { host?: string; port: number }): Promise<{ host: string }> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    try {
      return await tryPort({ host, port })
    } catch (thrown) {
      if (codeOf(thrown) !== 'PORT_IN_USE' || performance.now() > deadline) throw thrown
      await pause(retryMs)
    }
  }
}

async function tryPort({ host, port }: { host?: string; port: number }): Promise<{ host: string }> {
  try {
    await listenOnce({ host: host ?? '::', port })
    return { host: host ?? '::' }
  } catch (thrown) {
    if (host !== undefined || !['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(thrown) ?? '')) throw thrown
    await listenOnce({ host: '0.0.0.0', port })
    return { host: '0.0.0.0' }
  }
}

/** Whether processes can share a port: Linux and some BSDs. */
export async function canSharePorts(): Promise<boolean> {
  try {
    await listenOnce({ host: '127.0.0.1', port: 0, shares: true })
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOTSUP') return false
    throw thrown
  }
}

async function listenOnce(where: ListenOptions): Promise<void> {
  const server = createServer()
  await listenOn(server, where)
  server.close()
  await once(server, 'close')
}
