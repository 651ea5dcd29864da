import { messageOf } from '../registry/errors.ts'
import { createLog } from '../registry/log.ts'
import type { Cgroup } from './cgroups.ts'
import { DiskAllowance } from './disk-usage.ts'
import type { ExitCause, Program } from './launch.ts'
import { proportionalBytes, residentBytes } from './process-tree.ts'
import type { ProgramTree } from './program-tree.ts'

/** Ends the tree when it outlives its time or outgrows its memory or disk. Returns how to stop watching. */
export function watch(
  tree: ProgramTree,
  cgroup: Cgroup | null,
  { limits, cwd, writable = [] }: Program,
  end: (why: ExitCause) => void,
): () => void {
  const watching = new AbortController()
  const { timeoutMs, memoryMb, diskMb } = limits
  const timer = timeoutMs ? setTimeout(() => end('timeout'), timeoutMs) : undefined
  if (cgroup?.limitsMemory) keepLooking(() => lookForKill(cgroup, end), watching.signal)
  else if (memoryMb) keepLooking(() => lookAtMemory(tree, memoryMb * 1_048_576, end), watching.signal)
  if (diskMb) {
    const allowance = new DiskAllowance([cwd, ...writable], diskMb)
    keepLooking(() => lookAtDisk(allowance, end), watching.signal)
  }
  return () => {
    clearTimeout(timer)
    watching.abort()
  }
}

// Each look says in how many milliseconds to look again; a slow one never meets itself. A look that fails (no descriptor left to
// read /proc with) is no reason to stop looking.
async function keepLooking(look: () => number | Promise<number>, signal: AbortSignal): Promise<void> {
  for (let pauseMs = 1000; await passes(pauseMs, signal); ) {
    try {
      pauseMs = await look()
    } catch (error) {
      createLog('sandbox').warn({ error: messageOf(error) }, 'cannot look after a program')
    }
  }
}

function passes(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((settle) => {
    if (signal.aborted) return settle(false)
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      settle(true)
    }, ms)
    const stop = () => {
      clearTimeout(timer)
      settle(false)
    }
    signal.addEventListener('abort', stop, { once: true })
  })
}

// The kernel bounds the group's memory and ends one process of it, on version 2 all; a job that has lost one is no longer whole.
function lookForKill(cgroup: Cgroup, end: (why: ExitCause) => void): number {
  if (cgroup.ranOutOfMemory()) end('memory')
  return 500
}

// Resident memory counts shared pages again for each process, so it only raises the suspicion.
function lookAtMemory(tree: ProgramTree, limitBytes: number, end: (why: ExitCause) => void): number {
  const members = tree.members()
  const resident = residentBytes(members)
  if (resident > limitBytes && proportionalBytes(members) > limitBytes) end('memory')
  return resident > limitBytes / 2 ? 100 : 1000
}

async function lookAtDisk(allowance: DiskAllowance, end: (why: ExitCause) => void): Promise<number> {
  if (await allowance.isExceeded()) end('disk')
  return 1000
}
