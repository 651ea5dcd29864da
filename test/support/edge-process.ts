import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/**
 * The processes that listen on a port of this machine, what descriptors they hold together, their memory, how many connections to the
 * port are established, and how many sockets somebody still holds at its end, also of half-closed ones. Linux only.
 */
export type EdgeProcesses = { pids: number[]; descriptors: number; rssMb: number; connections: number; open: number }

export function edgeProcesses(port: number): EdgeProcesses {
  const sockets = ['tcp', 'tcp6'].flatMap((table) => socketsOn(table, port))
  const inodes = new Set(sockets.filter(({ state }) => state === '0A').map(({ inode }) => inode))
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => descriptorsOf(pid).some((target) => inodes.has(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? '')))
  return {
    pids: pids.map(Number),
    open: sockets.filter(({ state, inode }) => state !== '0A' && inode !== '0').length,
    connections: sockets.filter(({ state }) => state === '01').length,
    descriptors: pids.reduce((sum, pid) => sum + descriptorsOf(pid).length, 0),
    rssMb: pids.reduce((sum, pid) => sum + rssOf(pid), 0),
  }
}

// proc(5): local address is column 2 (hexadecimal), state column 4 (0A is LISTEN, 01 ESTABLISHED), inode column 10.
function socketsOn(table: string, port: number): { state: string; inode: string }[] {
  const rows = readFileSync(`/proc/net/${table}`, 'utf8').trim().split('\n').slice(1)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((columns) => Number.parseInt(columns[1]?.split(':').at(-1) ?? '', 16) === port)
    .map((columns) => ({ state: columns[3] ?? '', inode: columns[9] ?? '' }))
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`))
  } catch {
    return [] // it has ended, or is not ours to look into
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed meanwhile
  }
}

function rssOf(pid: string): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Math.round(Number(kilobytes ?? 0) / 1024)
}
