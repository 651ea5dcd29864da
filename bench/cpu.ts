import { readFileSync } from 'node:fs'

// proc(5) counts in ticks; Linux tells user space 100 a second on every architecture.
const ticksPerSecond = 100

/** From now on: the processor time that processes use, what they do themselves and what the kernel does for them, in seconds. */
export function meterCpu(pids: number[]): () => number {
  const before = new Map(pids.map((pid) => [pid, ticksOf(pid)]))
  return () => {
    const used = [...before].map(([pid, ticks]) => Math.max(0, ticksOf(pid) - ticks))
    return used.reduce((sum, ticks) => sum + ticks, 0) / ticksPerSecond
  }
}

/** A process and all that it has started. */
export function withDescendants(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean)
  return [pid, ...children.flatMap((child) => withDescendants(Number(child)))]
}

// The name in the second field may hold anything; utime and stime are the 14th and 15th.
function ticksOf(pid: number): number {
  const fields = read(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended
  }
}
