import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { realpath, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { AppError, codeOf } from '../../registry/errors.ts'
import type { RoleName } from './role.ts'

export type HomeLock = { release(): Promise<void> }

const roleNames: RoleName[] = ['gateway', 'worker', 'registry', 'proxy']

/**
 * One instance per home. The lock is a listening socket, which ends with its process however that ends, so it never goes stale; whoever
 * connects is told the holder's process id. Throws HOME_IN_USE.
 */
export async function lockHome(home: string): Promise<HomeLock> {
  const lock = await takeLock(home)
  for (const role of roleNames) {
    const pid = await askHolder(await lockAddress(home, role))
    if (pid === null) continue
    await lock.release()
    throw new AppError(
      'HOME_IN_USE',
      `the ${role} (process ${pid}) uses the home ${home}; stop it: atelier up starts one of its own`,
    )
  }
  return lock
}

/** One of each role to a home, and none beside the platform that `atelier up` started there: it has all of them. Throws HOME_IN_USE. */
export async function lockRole(home: string, role: RoleName): Promise<HomeLock> {
  const lock = await takeLock(home, role)
  const pid = await askHolder(await lockAddress(home))
  if (pid === null) return lock
  await lock.release()
  throw new AppError(
    'HOME_IN_USE',
    `atelier up (process ${pid}) uses the home ${home} and runs a ${role} of its own; give this one a home of its own with ATELIER_HOME`,
  )
}

async function takeLock(home: string, role?: RoleName): Promise<HomeLock> {
  const address = await lockAddress(home, role)
  const server = (await tryListen(address)) ?? (await retryOverStaleFile(address))
  if (!server) {
    const pid = await askHolder(address)
    const who = pid ? `another ${role ?? 'Atelier'} (process ${pid})` : 'another process'
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
async function lockAddress(home: string, role?: RoleName): Promise<string> {
  const real = await realpath(home)
  const suffix = role ? `-${role}` : ''
  if (process.platform !== 'linux') return join(real, `run/lock${suffix}.sock`)
  return `\0atelier-${createHash('sha256').update(real).digest('hex').slice(0, 32)}${suffix}`
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
