import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { connect, type Socket } from 'node:net'

/** A connection to a port of 127.0.0.1, and the process that has accepted it. Linux only. */
export type Accepted = { socket: Socket; pid: number }

/** Connects until every process has accepted at least `each` connections. */
export async function connectToEach(port: number, pids: number[], each: number): Promise<Accepted[]> {
  const accepted: Accepted[] = []
  while (pids.some((pid) => accepted.filter((one) => one.pid === pid).length < each)) {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.on('error', () => socket.destroy())
    accepted.push({ socket, pid: await ownerOf(port, socket.localPort ?? 0, pids) })
  }
  return accepted
}

async function ownerOf(port: number, clientPort: number, pids: number[]): Promise<number> {
  for (;;) {
    const inode = inodeOf(port, clientPort)
    const owner = inode && pids.find((pid) => holds(pid, inode))
    if (owner) return owner
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

// proc(5): local address is column 2, remote address column 3 (hexadecimal), inode column 10; 0 until somebody has accepted it.
function inodeOf(port: number, clientPort: number): string | null {
  const rows = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  const own = rows.find(([, local = '', remote = '']) => portIn(local) === port && portIn(remote) === clientPort)
  return own?.[9] && own[9] !== '0' ? own[9] : null
}

function portIn(address: string): number {
  return Number.parseInt(address.split(':')[1] ?? '', 16)
}

function holds(pid: number, inode: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`)
  } catch {
    return false // it has ended
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed meanwhile
  }
}
