import { readFile } from 'node:fs/promises'
import type { Atelier } from '../test/support/atelier.ts'
import { example } from '../test/support/example.ts'
import { processesOf } from '../test/support/processes.ts'
import type { Files } from '../test/support/repo.ts'
import { fetchApp } from './edge.ts'
import { type Row, repeat } from './measure.ts'

/** What the idle platform holds. */
export async function measureMemory(atelier: Atelier, what: string): Promise<Row[]> {
  const { mb, processes } = await held(atelier)
  return [{ what: `memory, ${what} (${processes} processes)`, values: [mb], unit: 'MB', target: '≤ 500 MB' }]
}

/** What each further live deployment adds to the whole platform: previews of one app, four at a time. */
export async function measureMemoryPerDeployment(atelier: Atelier): Promise<Row[]> {
  const kinds: [string, Files][] = [
    ['fetch app', fetchApp],
    ['Express app', await example('express')],
  ]
  const rows: Row[] = []
  for (const [what, files] of kinds) rows.push(await perDeployment(atelier, what, files))
  return rows
}

const atATime = 4

async function perDeployment(atelier: Atelier, what: string, files: Files): Promise<Row> {
  const app = `memory-${what.split(' ')[0]?.toLowerCase()}`
  const repo = await atelier.clone(await atelier.createApp(app))
  await repo.commit(files)
  await repo.push()
  // The first preview is what makes the roles' own heaps grow.
  await repo.push('HEAD:pr/1')
  let before = await held(atelier)
  const values = await repeat(2, async (batch) => {
    await repeat(atATime, (index) => repo.push(`HEAD:pr/${2 + batch * atATime + index}`))
    const after = await held(atelier)
    const added = (after.mb - before.mb) / atATime
    before = after
    return added
  })
  return { what: `memory per further live deployment, ${what}`, values, unit: 'MB', target: '≤ 60 / 40 MB' }
}

/** The proportional set size of all the platform's processes: shared pages are counted once. */
async function held(atelier: Atelier): Promise<{ mb: number; processes: number }> {
  const sizes = await Promise.all(processesOf(atelier.home).map(({ pid }) => proportionalMb(pid)))
  return { mb: sizes.reduce((sum, size) => sum + size, 0), processes: sizes.length }
}

async function proportionalMb(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT' || thrown.code === 'ESRCH') return ''
    throw thrown
  })
  return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) / 1024
}
