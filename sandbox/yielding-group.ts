import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { join } from 'node:path'
import { codeOf, messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { findHierarchy, openYielding } from './cgroups.ts'

/** Processor time in seconds since the machine started: of those who yield, of all, and what nobody wanted. */
export type ProcessorTimes = { yielding: number; all: number; free: number }

// Of all the processor time of the machine.
const fewFree = 0.05
const leastShare = 0.2
const fewOthers = 0.05
const lookEveryMs = 1_000

/**
 * Builds, and the worker they are of, give way to whoever else wants the processor: to apps and their visitors. The kernel
 * has them wait at once, where a small share would still let each of them finish its turn: milliseconds, of which a request meets several.
 * They do not wait while hardly anybody else is there, for the kernel spreads who waits badly over the cores: a build took about a tenth longer alone.
 * And where others leave them less than a fifth of the processor they share it with these like one more of them, or nothing could be deployed there.
 */
export class YieldingGroup {
  /** The kernel's folder of it. */
  readonly folder: string
  readonly #version: 1 | 2
  readonly #entrances: string[]
  readonly #account: string
  #last: ProcessorTimes

  /** Null where there is none: without root, without control groups, or where the kernel (before 5.15) or its settings have no such thing. */
  static open(): YieldingGroup | null {
    const hierarchy = findHierarchy()
    if (!hierarchy) return null
    const { cpu, cpuacct = cpu } = openYielding(hierarchy)
    if (!cpu || !cpuacct || cpu === hierarchy.folders.cpu) return null
    const account = hierarchy.version === 2 ? join(cpu, 'cpu.stat') : join(cpuacct, 'cpuacct.usage')
    if (!existsSync(join(cpu, 'cpu.idle')) || !existsSync(account)) return null
    return new YieldingGroup(hierarchy.version, { cpu, cpuacct, account })
  }

  private constructor(version: 1 | 2, { cpu, cpuacct, account }: { cpu: string; cpuacct: string; account: string }) {
    this.folder = cpu
    this.#version = version
    this.#account = account
    this.#entrances = [...new Set([cpu, cpuacct])].map((folder) => join(folder, 'cgroup.procs'))
    this.#last = this.times()
    this.#set('takes its share')
  }

  /**
   * This process and what it starts give way too. False on version 2: a process there is in one group for everything, and its own is what a
   * service's limits hold for.
   */
  join(): boolean {
    if (this.#version === 2) return false
    for (const file of this.#entrances) writeFileSync(file, String(process.pid))
    return true
  }

  /** To be called once a second. */
  look(now = this.times()): void {
    if (now.all <= this.#last.all) return
    this.#set(turnOf(this.#last, now))
    this.#last = now
  }

  times(): ProcessorTimes {
    const account = readFileSync(this.#account, 'latin1')
    const yielding =
      this.#version === 2 ? Number(/^usage_usec (\d+)/m.exec(account)?.[1] ?? 0) / 1e6 : Number(account) / 1e9
    // proc(5): user, nice, system, idle, waiting for the disk, interrupts, soft interrupts, stolen; the others are parts of these. In ticks of 10 ms.
    const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? ''
    const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
    const free = (ticks[3] ?? 0) + (ticks[4] ?? 0)
    return { yielding, all: ticks.reduce((sum, value) => sum + value, 0) / 100, free: free / 100 }
  }

  #set(turn: Turn): void {
    const idle = join(this.folder, 'cpu.idle')
    const wanted = turn === 'waits' ? '1' : '0'
    if (readFileSync(idle, 'latin1').trim() !== wanted) writeFileSync(idle, wanted)
  }
}

export type Turn = 'waits' | 'takes its share'

/** What a group is to do after what became of the processor between two looks. */
export function turnOf(before: ProcessorTimes, now: ProcessorTimes): Turn {
  const all = now.all - before.all
  const free = now.free - before.free
  const yielding = now.yielding - before.yielding
  const hasOthers = all - free - yielding > fewOthers * all
  const isStarved = free < fewFree * all && yielding < leastShare * all
  return hasOthers && !isStarved ? 'waits' : 'takes its share'
}

/**
 * This process and its jobs that yield give way to everybody else as far as this machine allows, by the group or by a lower priority. Returns how to
 * stop looking after the group.
 */
export function giveWay({ log }: { log: Log }): { close(): void } {
  const group = openGroup(log)
  if (!group?.join()) lowerPriority()
  if (!group) return { close: () => undefined }
  const look = () => {
    try {
      group.look()
    } catch (thrown) {
      log.warn({ error: messageOf(thrown) }, 'cannot look after the group of what yields')
    }
  }
  const timer = setInterval(look, lookEveryMs).unref()
  return { close: () => clearInterval(timer) }
}

function openGroup(log: Log): YieldingGroup | null {
  try {
    return YieldingGroup.open()
  } catch (thrown) {
    log.warn({ error: messageOf(thrown) }, 'what yields to apps has no group')
    return null
  }
}

/**
 * For this process and what it starts. Where the kernel schedules sessions as groups (sched(7): autogroup), a priority means nothing outside of the
 * session, which has one of its own: lowered where the session is this process's, as it is when `atelier up` started it.
 */
export function lowerPriority(): void {
  const niceness = constants.priority.PRIORITY_BELOW_NORMAL
  setPriority(niceness)
  try {
    const [, , , session] = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    if (Number(session) === process.pid) writeFileSync('/proc/self/autogroup', String(niceness))
  } catch (thrown) {
    if (!['ENOENT', 'EACCES', 'EPERM', 'EAGAIN', 'EROFS', 'EINVAL'].includes(codeOf(thrown) ?? '')) throw thrown
  }
}
