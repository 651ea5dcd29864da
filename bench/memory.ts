import { readFile } from 'node:fs/promises'
import type { Atelier } from '../test/support/atelier.ts'
import { processesOf } from '../test/support/processes.ts'
import type { Row } from './measure.ts'

/** What the idle platform holds: the proportional set size of all its processes, shared pages counted once. */
export async function measureMemory(atelier: Atelier, what: string): Promise<Row[]> {
  const sizes = await Promise.all(processesOf(atelier.home).map(({ pid }) => proportionalMb(pid)))
  return [
    {
      what: `memory, ${what} (${sizes.length} processes)`,
      values: [sizes.reduce((sum, size) => sum + size, 0)],
      unit: 'MB',
      target: '≤ 500 MB',
    },
  ]
}

async function proportionalMb(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT' || thrown.code === 'ESRCH') return ''
    throw thrown
  })
  return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) / 1024
}
