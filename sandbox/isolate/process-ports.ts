// Where the processes of this sandbox listen, read from /proc. Node builtins only.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export type Listener = { address: string; port: number }
export type Listeners = { tcp: Listener[]; unix: string[] }

/**
 * The sockets that the app's processes listen on; this process's own are left out. Null where there is no /proc to read it from.
 * The network namespace may be shared with others, so a socket counts only when one of these processes holds it.
 */
export function readListeners(): Listeners | null {
  if (process.platform !== 'linux') return null
  const held = new Set(processesHere().flatMap(socketsOf))
  const tcp = [...tableOf('tcp'), ...tableOf('tcp6')].filter(({ inode }) => held.has(inode))
  return { tcp: tcp.map(({ address, port }) => ({ address, port })), unix: unixPaths(held) }
}

/** How many connections to a port nobody has accepted yet; 0 where that cannot be read. */
export function waitingAt(port: number): number {
  if (process.platform !== 'linux') return 0
  const all = [...tableOf('tcp'), ...tableOf('tcp6')].filter((listener) => listener.port === port)
  return all.reduce((sum, { waiting }) => sum + waiting, 0)
}

/** The living processes of this sandbox, without its init and this one. */
export function processesHere(): string[] {
  const own = linkOf('/proc/self/ns/pid')
  const job = process.env['ATELIER_JOB']
  return namesIn('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === '1' || pid === readSelf()) return false
    // Without a PID namespace of its own, a sandbox marks what it started by a variable.
    const isOurs = job ? textOf(`/proc/${pid}/environ`).split('\0').includes(`ATELIER_JOB=${job}`) : true
    return isOurs && linkOf(`/proc/${pid}/ns/pid`) === own && !/^State:\s+[ZX]/m.test(textOf(`/proc/${pid}/status`))
  })
}

// Where /proc is the host's, this process has another number there than in its own namespace.
function readSelf(): string {
  return linkOf('/proc/self')
}

function socketsOf(pid: string): string[] {
  return namesIn(`/proc/${pid}/fd`).flatMap((fd) => {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1]
    return inode ? [inode] : []
  })
}

const listening = '0A'

// proc_net_tcp(5): sl, local address, remote address, state, queues, …; the tenth field is the inode. Of a listening socket the receive queue is
// that of connections to be accepted.
function tableOf(name: 'tcp' | 'tcp6'): (Listener & { inode: string; waiting: number })[] {
  const rows = textOf(`/proc/self/net/${name}`).split('\n').slice(1)
  return rows.flatMap((row) => {
    const [, local = '', , state, queues = '', , , , , inode = ''] = row.trim().split(/\s+/)
    if (state !== listening) return []
    const [address = '', port = ''] = local.split(':')
    const waiting = Number.parseInt(queues.split(':')[1] ?? '', 16) || 0
    return [{ address: readAddress(address), port: Number.parseInt(port, 16), inode, waiting }]
  })
}

// Each 32-bit word is printed as a number of this machine, which is little-endian wherever Node runs.
function readAddress(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => [...Buffer.from(word, 'hex').reverse()])
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.every((byte) => byte === 0)) return '::'
  if (bytes.slice(0, 15).every((byte) => byte === 0) && bytes[15] === 1) return '::1'
  const groups = Array.from({ length: 8 }, (_, at) =>
    (((bytes[2 * at] ?? 0) << 8) | (bytes[2 * at + 1] ?? 0)).toString(16),
  )
  return groups.join(':')
}

// unix(7) of a listening socket: the flag __SO_ACCEPTCON is 0x10000.
function unixPaths(held: Set<string>): string[] {
  const rows = textOf('/proc/self/net/unix').split('\n').slice(1)
  return rows.flatMap((row) => {
    const [, , , flags = '', , , inode = '', path] = row.trim().split(/\s+/)
    return path && Number.parseInt(flags, 16) & 0x10000 && held.has(inode) ? [path] : []
  })
}

function namesIn(folder: string): string[] {
  return absentAs([], () => readdirSync(folder))
}

function linkOf(path: string): string {
  return absentAs('', () => readlinkSync(path))
}

function textOf(path: string): string {
  return absentAs('', () => readFileSync(path, 'latin1'))
}

// A process that ended meanwhile, or one that is not ours to look into.
function absentAs<Value>(value: Value, read: () => Value): Value {
  try {
    return read()
  } catch (error) {
    if (error instanceof Error) return value
    throw error
  }
}
