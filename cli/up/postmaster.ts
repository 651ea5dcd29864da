import { execFile } from 'node:child_process'
import { readFile, realpath, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { codeOf } from '../../registry/errors.ts'

const run = promisify(execFile)

/** A line of `postmaster.pid`, as far as needed: process id and `starting`, `ready`, `stopping`, `standby`. */
export type Postmaster = { pid: number; status: string }

export async function readPostmaster(dataDir: string): Promise<Postmaster | null> {
  try {
    const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')
    return { pid: Number(lines[0]), status: lines[7]?.trim() ?? 'starting' }
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}

/**
 * Ends the Postgres that a killed supervisor left behind in this data directory: it finishes its checkpoint, or is cut after 10 s (what
 * was committed stays). A pid file whose process is another program by now is removed, or Postgres would refuse to start.
 */
export async function endLeftover(dataDir: string): Promise<'none' | 'ended'> {
  const left = await readPostmaster(dataDir)
  if (!left) return 'none'

  const ladder: [NodeJS.Signals, number][] = [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 2_000],
  ]
  let ended: 'none' | 'ended' = 'none'
  for (const [signal, waitMs] of ladder) {
    if (!(await isPostmasterOf(left.pid, dataDir))) break
    process.kill(left.pid, signal)
    ended = 'ended'
    const deadline = Date.now() + waitMs
    while (Date.now() < deadline && (await isPostmasterOf(left.pid, dataDir))) await sleep(20)
  }
  const still = await readPostmaster(dataDir)
  if (still?.pid === left.pid) await rm(join(dataDir, 'postmaster.pid'), { force: true })
  return ended
}

// Process ids are used again: only a program called postgres that was given this data directory is ours. A home may be reached by
// several names, so it is the directory that counts and not its spelling.
async function isPostmasterOf(pid: number, dataDir: string): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 1) return false
  const [program = '', ...args] = await commandOf(pid)
  const given = args[args.indexOf('-D') + 1]
  if (basename(program) !== 'postgres' || !given) return false
  return (await realpath(given).catch(() => given)) === (await realpath(dataDir))
}

async function commandOf(pid: number): Promise<string[]> {
  try {
    if (process.platform === 'linux') return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')
    return (await run('ps', ['-ww', '-o', 'args=', '-p', String(pid)])).stdout.trim().split(' ')
  } catch {
    return [] // no such process
  }
}
