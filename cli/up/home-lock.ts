import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { realpath, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { AppError, codeOf } from '../../registry/errors.ts'

export type HomeLock = { release(): Promise<void> }

/**
 * One instance per home. The lock is a listening socket, which ends with its process however that ends, so it never goes stale; whoever
 * connects is told the holder's process id. Throws HOME_IN_USE.
 */
export async function lockHome(home: string): Promise<HomeLock> {
  const address = await lockAddress(home)
  const server = (await tryListen(address)) ?? (await retryOverStaleFile(address))
  if (!server) {
    const pid = await askHolder(address)
    const who = pid ? `another Atelier (process ${pid})` : 'another process'
    throw new AppError(
      'HOME_IN_USE',
      `${who} uses the home ${home}; stop it, or give this one a home of its own with ATELIER_HOME`,
    )
  }
  server.unref()
  return {
    async release() {
      server.close()
      if (server.listening) await once(server, 'close')
    },
  }
}

// Linux knows socket names outside the file system, which leave nothing behind.
async function lockAddress(home: string): Promise<string> {
  const real = await realpath(home)
  if (process.platform !== 'linux') return join(real, 'run/lock.sock')
  return `\0atelier-${createHash('sha256').update(real).digest('hex').slice(0, 32)}`
}

async function tryListen(address: string): Promise<Server | null> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.end(`${process.pid}\n`)
  })
  try {
    server.listen(address)
    await once(server, 'listening')
    return server
  } catch (thrown) {
    if (codeOf(thrown) === 'EADDRINUSE') return null
    throw thrown
  }
}

// Elsewhere a killed holder leaves its socket file, which then refuses connections.
async function retryOverStaleFile(address: string): Promise<Server | null> {
  if (address.startsWith('\0') || (await askHolder(address)) !== null) return null
  await rm(address, { force: true })
  return tryListen(address)
}

async function askHolder(address: string): Promise<number | null> {
  const socket = connect(address)
  socket.setTimeout(1000, () => socket.destroy())
  try {
    let answer = ''
    for await (const chunk of socket) answer += chunk
    return Number(answer) || null
  } catch {
    return null // nobody answers
  }
}
