import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { codeOf } from '../../registry/errors.ts'

export type Seen = { pid: number; command: string }

/**
 * The processes of this machine that have to do with a home: it is in their command line, their environment, their directory or their
 * program. Linux only; empty elsewhere. Run as root it sees every user's.
 */
export function processesOf(home: string): Seen[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const command = read(() => readFileSync(`/proc/${name}/cmdline`, 'utf8')).replaceAll('\0', ' ')
      const traces = [
        command,
        read(() => readFileSync(`/proc/${name}/environ`, 'utf8')),
        read(() => readlinkSync(`/proc/${name}/cwd`)),
        read(() => readlinkSync(`/proc/${name}/exe`)),
      ]
      return traces.some((trace) => mentions(trace, home)) ? [{ pid: Number(name), command: command.trim() }] : []
    })
}

/** The unix sockets below a home that some process holds open. */
export function socketsOf(home: string): string[] {
  if (process.platform !== 'linux') return []
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n')
  return lines.flatMap((line) => line.split(' ').filter((word) => mentions(word, home)))
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0) && !read(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).includes(') Z ')
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPERM'
  }
}

/** kill -9 of each that is still there: the end of one is often the end of the others. */
export function killAll(pids: number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (thrown) {
      if (codeOf(thrown) !== 'ESRCH') throw thrown
    }
  }
}

// The whole name: /tmp/a is not in /tmp/ab.
function mentions(text: string, home: string): boolean {
  const at = text.indexOf(home)
  if (at < 0) return false
  return !/[\w-]/.test(text[at + home.length] ?? '') || mentions(text.slice(at + home.length), home)
}

function read(reading: () => string): string {
  try {
    return reading()
  } catch {
    return '' // it has ended, or is not ours to look into
  }
}

/** The TCP ports on which processes of this home listen. */
export function listeningPorts(home: string): number[] {
  const inodes = new Set(processesOf(home).flatMap(({ pid }) => socketInodesOf(pid)))
  const rows = ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, 'utf8').trim().split('\n').slice(1),
  )
  // proc(5): local address is column 2 (hexadecimal), state column 4 (0A is LISTEN), inode column 10.
  const listening = rows.map((row) => row.trim().split(/\s+/)).filter((columns) => columns[3] === '0A')
  const ports = listening.filter((columns) => inodes.has(columns[9] ?? '')).map(portOf)
  return [...new Set(ports)].sort((a, b) => a - b)
}

function portOf(columns: string[]): number {
  return Number.parseInt(columns[1]?.split(':').at(-1) ?? '', 16)
}

function socketInodesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(read(() => readlinkSync(`/proc/${pid}/fd/${fd}`))) ?? []
      return inode ? [inode] : []
    })
  } catch {
    return [] // it has ended
  }
}
