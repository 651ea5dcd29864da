import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { codeOf } from '../../registry/errors.ts'
import { writePrivately } from './private-file.ts'

const run = promisify(execFile)

/** A process of ours, told apart from a later one with the same id by the moment it was born. */
const ownProcesses = z.array(z.object({ name: z.string(), pid: z.number().int().min(2), bornAt: z.string() }))
export type OwnProcesses = z.infer<typeof ownProcesses>

const graceMs = 2000

/** Writes down which processes run now, for the start after a supervisor that was killed. */
export async function noteProcesses(file: string, running: { name: string; pid: number }[]): Promise<void> {
  const born = await Promise.all(running.map(async (one) => ({ ...one, bornAt: await birthOf(one.pid) })))
  await writePrivately(file, `${JSON.stringify(born.filter(({ bornAt }) => bornAt !== null))}\n`)
}

/**
 * Ends the roles that a killed supervisor left behind. They noticed and are ending by themselves; one that is still there after 2 s is
 * killed with its process group, for it would hold the port and the sockets of the next.
 */
export async function endLeftovers(file: string): Promise<string[]> {
  const left = await filterAsync(await readProcesses(file), isStillThere)
  const deadline = Date.now() + graceMs
  while (Date.now() < deadline && (await filterAsync(left, isStillThere)).length > 0) await sleep(20)
  for (const one of await filterAsync(left, isStillThere)) killGroup(one.pid)
  return left.map(({ name }) => name)
}

async function readProcesses(file: string): Promise<OwnProcesses> {
  try {
    const read = ownProcesses.safeParse(JSON.parse(await readFile(file, 'utf8')))
    return read.success ? read.data : []
  } catch (thrown) {
    // Cut in the middle by a power failure, after which nothing of ours runs.
    if (codeOf(thrown) === 'ENOENT' || thrown instanceof SyntaxError) return []
    throw thrown
  }
}

async function isStillThere({ pid, bornAt }: { pid: number; bornAt: string }): Promise<boolean> {
  return (await birthOf(pid)) === bornAt
}

/** The kernel's note of when a process started (clock ticks since boot; on other systems a date), or null when there is none. */
async function birthOf(pid: number): Promise<string | null> {
  try {
    if (process.platform !== 'linux') return (await run('ps', ['-o', 'lstart=', '-p', String(pid)])).stdout.trim()
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // proc(5): the name in brackets may hold anything; after it, state is field 3 and starttime field 22. A zombie is no longer there.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : (fields[19] ?? null)
  } catch {
    return null // no such process
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (thrown) {
    if (codeOf(thrown) !== 'ESRCH') throw thrown
  }
}

async function filterAsync<T>(all: T[], test: (one: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(all.map(test))
  return all.filter((_, index) => kept[index])
}
