import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { codeOf, messageOf } from '../registry/errors.ts'
import { createLog } from '../registry/log.ts'
import { isOrphan, sendSignal, startTimeOf } from './process-tree.ts'

export type CgroupLimits = {
  memoryMb?: number
  processes?: number
  /** Share of the processor when others want it too: 100 is everybody's default. */
  cpuWeight?: number
}

type Controller = 'memory' | 'pids' | 'cpu'
/** Which controllers this process may use, and the folder of each in which it may make groups. */
export type Hierarchy = { version: 1 | 2; folders: Partial<Record<Controller, string>> }

const mounted = '/sys/fs/cgroup'
const controllers: Controller[] = ['memory', 'pids', 'cpu']

/**
 * The kernel's own accounts of one job: its memory, processes and share of the processor, whatever the job does to hide. One folder for each
 * hierarchy in use (version 1 has one per controller; hosts with version 2 for some and version 1 for others exist).
 */
export class Cgroup {
  /** Files that a process writes its id to when it enters. */
  readonly entrances: string[]
  readonly limitsMemory: boolean
  readonly #folders: string[]
  readonly #hierarchy: Hierarchy

  /** Null where this process may make no groups: it takes root, and a host that lets it. */
  static make(limits: CgroupLimits, hierarchy = findHierarchy()): Cgroup | null {
    if (!hierarchy) return null
    try {
      return new Cgroup(hierarchy, limits)
    } catch (thrown) {
      createLog('sandbox').warn({ error: messageOf(thrown) }, 'cannot make a control group')
      return null
    }
  }

  private constructor(hierarchy: Hierarchy, limits: CgroupLimits) {
    const name = `${process.pid}-${own}-${++made}`
    this.#hierarchy = hierarchy
    const inEach = controllers.flatMap((controller): [Controller, string][] => {
      const folder = hierarchy.folders[controller]
      return folder ? [[controller, join(folder, name)]] : []
    })
    this.#folders = [...new Set(inEach.map(([, folder]) => folder))]
    this.entrances = this.#folders.map((folder) => join(folder, 'cgroup.procs'))
    this.limitsMemory = limits.memoryMb !== undefined && hierarchy.folders.memory !== undefined
    try {
      for (const folder of this.#folders) mkdirSync(folder)
      for (const [controller, folder] of inEach)
        for (const [file, value] of settings[hierarchy.version][controller](limits)) set(join(folder, file), value)
    } catch (thrown) {
      this.#removeFolders()
      throw thrown
    }
  }

  /** The processes in it, whatever tree they hang in. */
  members(): number[] {
    return [...new Set(this.entrances.flatMap(membersOf))]
  }

  /** Whether the kernel has ended a process of it for want of memory. */
  ranOutOfMemory(): boolean {
    const folder = this.#folderOf('memory')
    if (!folder) return false
    const file = this.#hierarchy.version === 2 ? 'memory.events' : 'memory.oom_control'
    return Number(/^oom_kill (\d+)$/m.exec(read(join(folder, file)))?.[1] ?? 0) > 0
  }

  /** To be called when all its processes are gone; a group is busy for moments after. */
  async remove(): Promise<void> {
    for (let attempt = 0; attempt < 50; attempt++) {
      if (this.#removeFolders()) return
      await wait(Math.min(2 ** attempt, 100))
    }
    createLog('sandbox').warn({ folders: this.#folders }, 'cannot remove a control group')
  }

  #folderOf(controller: Controller): string | null {
    const parent = this.#hierarchy.folders[controller]
    return this.#folders.find((folder) => parent && folder.startsWith(`${parent}/`)) ?? null
  }

  #removeFolders(): boolean {
    return this.#folders.map(removeGroup).every(Boolean)
  }
}

// A number is given out again, and may be another's in another PID namespace: the start time tells whose it is.
const own = startTimeOf(process.pid) ?? 0
let made = 0
let found: Hierarchy | null | undefined

/** What this process may use, found by trying, once. */
export function findHierarchy(): Hierarchy | null {
  if (found === undefined) {
    found = process.platform === 'linux' && process.getuid?.() === 0 ? (tryVersion2() ?? tryVersion1()) : null
    for (const folder of new Set(Object.values(found?.folders ?? {}))) sweep(folder)
  }
  return found
}

// Like container runtimes that manage groups themselves: a folder at the top, which systemd leaves alone.
function tryVersion2(): Hierarchy | null {
  const folder = join(mounted, 'atelier')
  if (!read(join(mounted, 'cgroup.controllers'))) return null
  try {
    mkdirSync(folder, { recursive: true })
    const offered = read(join(folder, 'cgroup.controllers')).trim().split(' ')
    const usable = controllers.filter((controller) => offered.includes(controller))
    set(join(folder, 'cgroup.subtree_control'), usable.map((controller) => `+${controller}`).join(' '))
    return usable.includes('memory')
      ? { version: 2, folders: Object.fromEntries(usable.map((controller) => [controller, folder])) }
      : null
  } catch (thrown) {
    return refusal(thrown)
  }
}

// Below the group this process is in itself, so that a limit of the whole platform holds for its jobs too.
function tryVersion1(): Hierarchy | null {
  const own = read('/proc/self/cgroup')
  const folders = controllers.flatMap((controller) => {
    const place = new RegExp(`^\\d+:(?:[^:]*,)?${controller}(?:,[^:]*)?:(.*)$`, 'm').exec(own)?.[1]
    const parents = place === undefined ? [] : [join(mounted, controller, place), join(mounted, controller)]
    const folder = parents.map((parent) => join(parent, 'atelier')).find(canMake)
    return folder ? [[controller, folder] as const] : []
  })
  return folders.length > 0 ? { version: 1, folders: Object.fromEntries(folders) } : null
}

function canMake(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true })
    return read(join(folder, 'cgroup.procs')) === ''
  } catch (thrown) {
    return refusal(thrown) ?? false
  }
}

function refusal(thrown: unknown): null {
  if (['EROFS', 'EACCES', 'EPERM', 'ENOENT', 'EBUSY', 'EINVAL', 'ENOTSUP'].includes(codeOf(thrown) ?? '')) return null
  throw thrown
}

// Groups of a platform that was killed. One with a process in it cannot be removed yet: a sandbox whose platform was killed while it was being set up
// waits for it for ever (bubblewrap's own end comes later in its start) and is ended. Only an orphan: in another PID namespace the group may be in use.
function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    const [, pid, startTime] = /^(\d+)-(\d+)-\d+$/.exec(name) ?? []
    if (!pid || startTimeOf(Number(pid)) === Number(startTime) || removeGroup(join(folder, name))) continue
    for (const member of membersOf(join(folder, name, 'cgroup.procs')))
      if (isOrphan(member)) sendSignal(member, 'SIGKILL')
    removeGroup(join(folder, name))
  }
}

function membersOf(file: string): number[] {
  return read(file).split('\n').filter(Boolean).map(Number)
}

type Settings = Record<Controller, (limits: CgroupLimits) => [file: string, value: string][]>

// Swap would let a job outgrow its memory unseen. On version 1 the account of both together exists only where the kernel keeps one.
const settings: Record<1 | 2, Settings> = {
  2: {
    memory: ({ memoryMb }) =>
      memoryMb
        ? [
            ['memory.max', String(memoryMb * 1_048_576)],
            ['memory.swap.max', '0'],
            ['memory.oom.group', '1'],
          ]
        : [],
    pids: ({ processes }) => (processes ? [['pids.max', String(processes)]] : []),
    cpu: ({ cpuWeight }) => (cpuWeight ? [['cpu.weight', String(cpuWeight)]] : []),
  },
  1: {
    memory: ({ memoryMb }) =>
      memoryMb
        ? [
            ['memory.limit_in_bytes', String(memoryMb * 1_048_576)],
            ['memory.memsw.limit_in_bytes', String(memoryMb * 1_048_576)],
          ]
        : [],
    pids: ({ processes }) => (processes ? [['pids.max', String(processes)]] : []),
    // 1024 shares are what a weight of 100 is in version 2.
    cpu: ({ cpuWeight }) => (cpuWeight ? [['cpu.shares', String(Math.max(2, Math.round(cpuWeight * 10.24)))]] : []),
  },
}

const mayBeMissing = /\/memory\.(swap\.max|memsw\.limit_in_bytes|oom\.group)$/

function set(file: string, value: string): void {
  try {
    writeFileSync(file, value)
  } catch (thrown) {
    if (!mayBeMissing.test(file) || !['ENOENT', 'EACCES', 'ENOTSUP'].includes(codeOf(thrown) ?? '')) throw thrown
  }
}

function removeGroup(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return true
    if (codeOf(thrown) === 'EBUSY' || codeOf(thrown) === 'ENOTEMPTY') return false
    throw thrown
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch (thrown) {
    if (['ENOENT', 'EACCES', 'ENODEV'].includes(codeOf(thrown) ?? '')) return ''
    throw thrown
  }
}
