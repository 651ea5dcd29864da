import { readFileSync } from 'node:fs'

// proc(5) counts in ticks; Linux tells user space 100 a second on every architecture.
const ticksPerSecond = 100

/** Processor time that processes have used so far, in seconds: of each, what it did itself and what the kernel did for it. */
export function cpuSeconds(pids: number[]): number {
  const ticks = pids.map((pid) => {
    // The name in the second field may hold anything; utime and stime are the 14th and 15th.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, one) => sum + one, 0) / ticksPerSecond
}
