import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { codeOf, messageOf } from '../registry/errors.ts'
import { createLog } from '../registry/log.ts'
import { isOrphan, sendSignal, startTimeOf } from './process-tree.ts'

export type CgroupLimits = {
  memoryMb?: number
  processes?: number
  /** Whether it gives way to everybody else who wants the processor (yielding-group.ts). */
  yields?: boolean
}

type Controller = 'memory' | 'pids' | 'cpu' | 'cpuacct'
type Folders = Partial<Record<Controller, string>>
/** Which controllers this process may use, and the folder of each in which it may make groups. */
export type Hierarchy = { version: 1 | 2; folders: Folders }

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
  readonly #byController: ReadonlyMap<Controller, string>
  readonly #version: 1 | 2

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
    this.#version = hierarchy.version
    const parents = limits.yields ? openYielding(hierarchy) : hierarchy.folders
    const inEach = [...controllers, 'cpuacct' as const].flatMap((controller): [Controller, string][] => {
      const folder = parents[controller]
      return folder ? [[controller, join(folder, name)]] : []
    })
    this.#byController = new Map(inEach)
    this.#folders = [...new Set(this.#byController.values())]
    this.entrances = this.#folders.map((folder) => join(folder, 'cgroup.procs'))
    this.limitsMemory = limits.memoryMb !== undefined && this.#byController.has('memory')
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
    const folder = this.#byController.get('memory')
    if (!folder) return false
    const file = this.#version === 2 ? 'memory.events' : 'memory.oom_control'
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
    for (const folder of new Set(Object.values(found?.folders ?? {}))) sweep(folder, /^(\d+)-(\d+)-\d+$/)
    for (const folder of yieldingPlaces(found)) sweep(dirname(folder), /^atelier-(\d+)-(\d+)$/)
  }
  return found
}

// Like container runtimes that manage groups themselves: folders at the top, which systemd leaves alone.
function tryVersion2(): Hierarchy | null {
  if (!read(join(mounted, 'cgroup.controllers'))) return null
  try {
    const folders = openVersion2(join(mounted, 'atelier'))
    return folders.memory ? { version: 2, folders } : null
  } catch (thrown) {
    return refusal(thrown)
  }
}

function openVersion2(folder: string): Folders {
  mkdirSync(folder, { recursive: true })
  const offered = read(join(folder, 'cgroup.controllers')).trim().split(' ')
  const usable = controllers.filter((controller) => offered.includes(controller))
  set(join(folder, 'cgroup.subtree_control'), usable.map((controller) => `+${controller}`).join(' '))
  return Object.fromEntries(usable.map((controller) => [controller, folder]))
}

// Below the group this process is in itself, so that a limit of the whole platform holds for its jobs too.
function tryVersion1(): Hierarchy | null {
  const found = controllers.flatMap((controller) => {
    const folder = parentsOf(controller)
      .map((parent) => join(parent, 'atelier'))
      .find(canMake)
    return folder ? [[controller, folder] as const] : []
  })
  return found.length > 0 ? { version: 1, folders: Object.fromEntries(found) } : null
}

function parentsOf(controller: Controller): string[] {
  const line = new RegExp(`^\\d+:(?:[^:]*,)?${controller}(?:,[^:]*)?:(.*)$`, 'm').exec(read('/proc/self/cgroup'))
  if (line?.[1] === undefined) return []
  // A part of the platform that has gone there itself has still the same place as the others.
  const place = line[1].replace(/\/atelier-\d+-\d+(\/.*)?$/, '')
  return [join(mounted, controller, place), join(mounted, controller)]
}

let yielding: Folders | undefined

/**
 * Where groups are made for this process's jobs that give way. That folder of the processor's lies beside the one of all jobs and not in it, for the
 * kernel compares whole groups: who gives way only inside of one keeps all outside of it waiting. It is this process's own, or many platforms
 * of one machine would have to do with the share of one. Where it cannot be made, the folder of all jobs.
 */
export function openYielding(hierarchy: Hierarchy): Folders {
  yielding ??= makeYielding(hierarchy)
  return yielding
}

function makeYielding(hierarchy: Hierarchy): Folders {
  const { version, folders } = hierarchy
  const [cpu, cpuacct] = yieldingPlaces(hierarchy)
  try {
    if (!cpu) return folders
    if (version === 2) return openVersion2(cpu)
    mkdirSync(cpu, { recursive: true })
    if (cpuacct) mkdirSync(cpuacct, { recursive: true })
    return { ...folders, cpu, ...(cpuacct && { cpuacct }) }
  } catch (thrown) {
    return refusal(thrown) ?? folders
  }
}

// On version 1 the processor's account may be a hierarchy of its own.
function yieldingPlaces(hierarchy: Hierarchy | null): string[] {
  const { cpu } = hierarchy?.folders ?? {}
  if (!cpu) return []
  const name = `-${process.pid}-${own}`
  const [parent] = hierarchy?.version === 1 && !existsSync(join(cpu, 'cpuacct.usage')) ? parentsOf('cpuacct') : []
  return [`${cpu}${name}`, ...(parent ? [join(parent, `atelier${name}`)] : [])]
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
function sweep(folder: string, named: RegExp): void {
  for (const name of foldersIn(folder)) {
    const [, pid, startTime] = named.exec(name) ?? []
    if (!pid || startTimeOf(Number(pid)) === Number(startTime)) continue
    const group = join(folder, name)
    sweep(group, /^(\d+)-(\d+)-\d+$/)
    if (removeGroup(group)) continue
    for (const member of membersOf(join(group, 'cgroup.procs'))) if (isOrphan(member)) sendSignal(member, 'SIGKILL')
    removeGroup(group)
  }
}

// Another platform may sweep at the same time.
function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return []
    throw thrown
  }
}

function membersOf(file: string): number[] {
  return read(file).split('\n').filter(Boolean).map(Number)
}

type Setting = (limits: CgroupLimits) => [file: string, value: string][]

// Where everybody is in one group, the parts of the platform go before what they start, and apps before builds.
const yieldingWeight = 20

// Swap would let a job outgrow its memory unseen. On version 1 the account of both together exists only where the kernel keeps one.
const settings: Record<1 | 2, Record<Controller, Setting>> = {
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
    cpu: ({ yields }) => (yields ? [['cpu.weight', String(yieldingWeight)]] : []),
    cpuacct: () => [],
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
    cpu: ({ yields }) => (yields ? [['cpu.shares', String(Math.round(yieldingWeight * 10.24))]] : []),
    cpuacct: () => [],
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
