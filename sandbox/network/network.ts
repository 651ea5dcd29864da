import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readdirSync, statSync } from 'node:fs'
import { type AddressInfo, Server } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { AppError, codeOf, messageOf } from '../../registry/errors.ts'
import { hostTool } from '../host-tools.ts'

/** An open network namespace that programs are started in; held open by these descriptors of this process (close-on-exec). */
export type NetworkNamespace = {
  netFd: number
  /** The user namespace that owns it, when an ordinary user made it. */
  userFd: number | null
}

/** Whether what runs here is kept from private addresses, and if not, why. */
export type NetworkState = { kind: 'filtered' } | { kind: 'open'; reason: string }

/** A namespace with nothing but its own loopback, where a socket of this process listens. */
export type ListeningNamespace = NetworkNamespace & { server: Server; port: number }

/**
 * Makes a network namespace in which this process listens on 127.0.0.1:`port`. A Node that lives for 60 ms is started inside, listens, and
 * hands its socket over: a socket stays in its namespace whoever holds it. So nothing of ours has to run in there, and what connects
 * there is accepted here. Throws SANDBOX_FAILED with what would have to be installed or allowed.
 */
export async function makeListeningNamespace(port: number): Promise<ListeningNamespace> {
  if (process.platform !== 'linux')
    throw new AppError('SANDBOX_FAILED', `${process.platform} has no network namespaces; run Atelier on Linux`)
  const failures: string[] = []
  for (const { file, args, ownsUser } of waysIn()) {
    try {
      return await handOver(spawnIn(file, args, port), ownsUser)
    } catch (thrown) {
      failures.push(messageOf(thrown))
    }
  }
  const asked = 'install bubblewrap (Debian: apt-get install bubblewrap) and allow user namespaces'
  throw new AppError('SANDBOX_FAILED', ['no network namespace can be made', ...failures, asked].join('; '))
}

/**
 * A socket of this process that listens on 127.0.0.1 of a namespace there is, handed over in the same way; 60 ms. Throws with the first words of
 * what failed.
 */
export async function listenIn({ netFd, userFd }: NetworkNamespace, port: number): Promise<Server> {
  const nsenter = hostTool('nsenter')
  if (!nsenter) throw new AppError('SANDBOX_FAILED', 'nsenter is not installed (Debian: apt-get install util-linux)')
  const held = (fd: number) => `/proc/${process.pid}/fd/${fd}`
  const user = userFd === null ? [] : [`--user=${held(userFd)}`, '--preserve-credentials']
  const { server } = await receiveServer(spawnIn(nsenter, [...user, `--net=${held(netFd)}`, '--'], port), () => null)
  return server
}

/** Whether any process is in the namespace. */
export function isInUse({ netFd }: NetworkNamespace): boolean {
  const { ino } = fstatSync(netFd)
  return readdirSync('/proc').some((name) => /^\d+$/.test(name) && namespaceOf(name) === ino)
}

/** Lets go of the namespace; it is gone when no process is in it. */
export function closeNamespace({ netFd, userFd }: NetworkNamespace): void {
  closeSync(netFd)
  if (userFd !== null) closeSync(userFd)
}

/** Opens the namespaces of a process that was started in them and still runs. */
export function openNamespace(pid: number, { ownsUser }: { ownsUser: boolean }): NetworkNamespace {
  const netFd = openSync(`/proc/${pid}/ns/net`, 'r')
  return { netFd, userFd: ownsUser ? openSync(`/proc/${pid}/ns/user`, 'r') : null }
}

type WayIn = { file: string; args: string[]; ownsUser: boolean }

// bwrap brings the loopback up itself; otherwise `ip` has to.
function waysIn(): WayIn[] {
  const [bwrap, unshare, ip] = [hostTool('bwrap'), hostTool('unshare'), hostTool('ip')]
  const withLoopback = ['/bin/sh', '-c', `${ip} link set lo up && exec "$0" "$@"`]
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? [] : ['--user', '--map-current-user', '--keep-caps']
  const byUnshare = unshare && ip ? [{ file: unshare, args: [...user, '--net', '--', ...withLoopback] }] : []
  const place = ['--unshare-net', '--dev-bind', '/', '/', '--die-with-parent', '--']
  const byBwrap = bwrap ? [{ file: bwrap, args: [...(isRoot ? [] : ['--unshare-user']), ...place] }] : []
  const ways = isRoot ? [...byUnshare, ...byBwrap] : [...byBwrap, ...byUnshare]
  return ways.map((way) => ({ ...way, ownsUser: !isRoot }))
}

const listenerScript = `
  const server = require('node:net').createServer()
  server.listen(Number(process.argv[1]), '127.0.0.1', () => process.send(process.pid, server))
  process.once('message', () => process.exit())
  process.once('disconnect', () => process.exit())
`

function spawnIn(file: string, args: string[], port: number): ChildProcess {
  return spawn(file, [...args, process.execPath, '-e', listenerScript, '--', String(port)], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
}

async function handOver(child: ChildProcess, ownsUser: boolean): Promise<ListeningNamespace> {
  const { server, found } = await receiveServer(child, (pid) => openNamespace(pid, { ownsUser }))
  const { port } = server.address() as AddressInfo
  return { ...found, server, port }
}

// `look` is called while the one that hands it over is still there.
async function receiveServer<Found>(
  child: ChildProcess,
  look: (pid: number) => Found,
): Promise<{ server: Server; found: Found }> {
  const said = child.stderr ? buffer(child.stderr) : Promise.resolve(Buffer.alloc(0))
  const ended = once(child, 'close').then(async () => {
    throw new Error((await said).toString().trim().split('\n')[0] || `${child.spawnfile} failed`)
  })
  ended.catch(() => undefined) // it ends in any case; before the message it is a failure
  const [pid, server] = await Promise.race([once(child, 'message'), ended])
  try {
    if (typeof pid !== 'number' || !(server instanceof Server)) throw new Error('no socket was handed over')
    return { server, found: look(pid) }
  } finally {
    child.send('done')
    await ended.catch(() => undefined)
  }
}

function namespaceOf(pid: string): number | null {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino
  } catch (thrown) {
    // Gone by now, or another user's, whom nobody lets in here.
    if (['ENOENT', 'EACCES', 'EPERM', 'ESRCH'].includes(codeOf(thrown) ?? '')) return null
    throw thrown
  }
}
