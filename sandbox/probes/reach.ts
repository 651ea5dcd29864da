// What of the machine a walled-in program reaches: files, sockets, addresses, processes (security.md B1, B3, I1).
// Node builtins only; it runs without its types inside the sandbox.
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Sighting } from './system-calls.ts'

/** A process outside, named for good by when it started (clock ticks after boot): inside, its number may be another's. */
export type OutsideProcess = { pid: number; startTime: number }
export type Address = { host: string; port: number }

// Opening these to read does nothing by itself. A watchdog or a terminal is not among them for that reason.
const devices = ['fuse', 'kvm', 'net/tun', 'kmsg', 'mem', 'port', 'vhost-net', 'vhost-vsock', 'loop-control']
const disks = ['sda', 'vda', 'xvda', 'nvme0n1', 'mmcblk0']

/** Files it can open and folders it can list, of those given. */
export function openFiles(probe: string, paths: string[]): Sighting {
  return { probe, seen: paths.filter(opens), note: '' }
}

export function openDevices(probe: string): Sighting {
  return openFiles(
    probe,
    [...devices, ...disks].map((name) => join('/dev', name)),
  )
}

/** Where it managed to leave a file of this name; whether that is outside too, only the outside can tell. */
export function leaveFiles(probe: string, name: string, folders: string[]): Sighting {
  const seen = folders.filter((folder) => works(() => writeFileSync(join(folder, name), '', { flag: 'wx' })))
  return { probe, seen, note: '' }
}

/** Unix sockets that let it connect; a leading \0 makes the name an abstract one. */
export async function reachSockets(probe: string, paths: string[]): Promise<Sighting> {
  const results = await Promise.all(paths.map((path) => connects({ path }, 1000)))
  return { probe, seen: paths.filter((_, index) => results[index] === 'connected').map(printed), note: '' }
}

/** Addresses that let it connect within the time. */
export async function reachAddresses(probe: string, addresses: Address[], timeoutMs: number): Promise<Sighting> {
  const results = await Promise.all(addresses.map((address) => connects(address, timeoutMs)))
  const seen = addresses.filter((_, index) => results[index] === 'connected').map(({ host, port }) => `${host}:${port}`)
  return { probe, seen, note: [...new Set(results)].join(', ') }
}

export function seeProcess(probe: string, outside: OutsideProcess): Sighting {
  return { probe, seen: isVisible(outside) ? [`process ${outside.pid}`] : [], note: '' }
}

export function signalProcess(probe: string, outside: OutsideProcess): Sighting {
  const may = isVisible(outside) && works(() => process.kill(outside.pid, 0))
  return { probe, seen: may ? [`process ${outside.pid} takes signals`] : [], note: '' }
}

/** What of another process's insides is open: its environment, its memory, its descriptors. */
export function openProcess(probe: string, outside: OutsideProcess): Sighting {
  if (!isVisible(outside)) return { probe, seen: [], note: '' }
  const at = (name: string) => `/proc/${outside.pid}/${name}`
  const seen = [at('mem'), at('fd'), at('root/etc')].filter(opens)
  if (readText(at('environ')).length > 0) seen.unshift(at('environ'))
  return { probe, seen, note: '' }
}

/** Every text of this pattern in the environment of any process there is to see. */
export function huntInProcesses(probe: string, pattern: string): Sighting {
  const pids = listed('/proc').filter((name) => /^\d+$/.test(name))
  const found = pids.flatMap((pid) => readText(`/proc/${pid}/environ`).match(new RegExp(pattern, 'g')) ?? [])
  return { probe, seen: [...new Set(found)], note: `${pids.length} processes` }
}

/** Where its own descriptors lead. */
export function listDescriptors(probe: string): Sighting {
  const links = listed('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`))
  return { probe, seen: links.filter((link) => link !== ''), note: '' }
}

/** Rights a process behind walls has no use for, as the kernel names them. */
export function listRights(probe: string, status: string): Sighting {
  const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(status)?.[1]?.trim() ?? ''
  const sets = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].filter((name) => !/^0+$/.test(field(name)))
  const groups = field('Groups')
    .split(/\s+/)
    .filter((group) => group !== '' && group !== String(process.getgid?.()))
  const seen = [
    ...sets.map((name) => `${name} ${field(name)}`),
    ...groups.map((group) => `group ${group}`),
    ...(field('NoNewPrivs') === '1' ? [] : ['setuid programs give it rights']),
  ]
  return { probe, seen, note: '' }
}

function isVisible({ pid, startTime }: OutsideProcess): boolean {
  const stat = readText(`/proc/${pid}/stat`)
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]) === startTime
}

function opens(path: string): boolean {
  return works(() => closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)))
}

function works(attempt: () => unknown): boolean {
  try {
    attempt()
    return true
  } catch {
    return false // which is what the walls are for
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // closed, or gone
  }
}

function listed(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // closed
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // the descriptor of the listing itself
  }
}

type Target = { path: string } | Address

function connects(target: Target, timeoutMs: number): Promise<string> {
  return new Promise((settle) => {
    const socket = connect(target)
    const end = (result: string) => {
      socket.destroy()
      settle(result)
    }
    socket.setTimeout(timeoutMs, () => end('no answer'))
    socket.once('connect', () => end('connected'))
    socket.on('error', (error) => end('code' in error ? String(error.code) : error.message))
  })
}

function printed(path: string): string {
  return path.replace('\0', '@')
}
