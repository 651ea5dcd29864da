import { readdirSync, readFileSync } from 'node:fs'
import { codeOf } from '../registry/errors.ts'

const hasProc = process.platform === 'linux'

/** Every living process that descends from `pid`, parents before children, `pid` itself left out. Empty where there is no /proc. */
export function descendantsOf(pid: number): number[] {
  const found: number[] = []
  const waiting = childrenOf(pid)
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    found.push(next)
    waiting.push(...childrenOf(next))
  }
  return found
}

/** Processes that were started with `NAME=value` in their environment, as far as this process may look. */
export function processesWith(variable: string): number[] {
  return absentAs([], () => readdirSync('/proc'))
    .map(Number)
    .filter((pid) => pid > 0 && procText(pid, 'environ').split('\0').includes(variable))
}

/** Resident memory in bytes; pages that processes share count once for each. */
export function residentBytes(pids: number[]): number {
  return pids.reduce((sum, pid) => sum + kilobytesIn(procText(pid, 'status'), /^VmRSS:\s+(\d+) kB/m), 0)
}

/** Memory in bytes with shared pages divided among their users (PSS): exact, but milliseconds dear for a large process. */
export function proportionalBytes(pids: number[]): number {
  return pids.reduce((sum, pid) => {
    const exact = kilobytesIn(procText(pid, 'smaps_rollup'), /^Pss:\s+(\d+) kB/m)
    return sum + (exact || residentBytes([pid]))
  }, 0)
}

/** The start time of a process in clock ticks after boot, which together with its pid names it for good; null when it is gone. */
export function startTimeOf(pid: number): number | null {
  return statOf(pid)?.startTime ?? null
}

/** Whether whoever started the process is gone, and init has it now. */
export function isOrphan(pid: number): boolean {
  return statOf(pid)?.parent === 1
}

/** Whether a process lives; a zombie does not. */
export function isAlive(pid: number): boolean {
  if (!hasProc) return sendSignal(pid, 0)
  const state = statOf(pid)?.state
  return state !== undefined && state !== 'Z' && state !== 'X'
}

/** Sends a signal to a process, or to a process group by its negative id. False when there is nobody left to receive it. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch (thrown) {
    // EPERM comes from a group whose only members are changing their uid or are another user's by now.
    if (codeOf(thrown) === 'ESRCH' || codeOf(thrown) === 'EPERM') return false
    throw thrown
  }
}

type Stat = { state: string; parent: number; startTime: number }

// proc(5): the second field is the command in parentheses and may itself hold spaces and parentheses.
function statOf(pid: number): Stat | null {
  const text = procText(pid, 'stat')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields.length < 20) return null
  return { state: fields[0] ?? '', parent: Number(fields[1]), startTime: Number(fields[19]) }
}

// A child belongs to the thread that started it, so every thread's list is read.
function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) =>
    procText(pid, `task/${thread}/children`).trim().split(' ').filter(Boolean).map(Number),
  )
}

function threadsOf(pid: number): string[] {
  return absentAs([], () => readdirSync(`/proc/${pid}/task`))
}

function kilobytesIn(text: string, line: RegExp): number {
  return Number(line.exec(text)?.[1] ?? 0) * 1024
}

function procText(pid: number, name: string): string {
  return absentAs('', () => readFileSync(`/proc/${pid}/${name}`, 'latin1'))
}

function absentAs<Value>(value: Value, read: () => Value): Value {
  if (!hasProc) return value
  try {
    return read()
  } catch (thrown) {
    // The process ended meanwhile (ENOENT, ESRCH), or its memory is not ours to read (EACCES, EPERM).
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(thrown) ?? '')) return value
    throw thrown
  }
}
