import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../../registry/errors.ts'
import { ask } from '../../test/support/http.ts'
import { requireProgram } from '../../test/support/machine.ts'
import { withDescendants } from '../cpu.ts'

/** Something else that does the same work on this machine, for the time of one measurement. */
export type Rival = { what: string; port: number; pids(): number[]; close(): Promise<void> }

/** One that this machine does not have, and why. */
export type Missing = { what: string; missing: string }

/** This machine does not have what a rival needs, and cannot be given it. */
class NotHere extends Error {}

/** A program of a rival's, from Debian's packages if it is not there. */
export function rivalProgram(program: string, packages?: string[]): Promise<string> {
  return orNotHere(() => requireProgram(program, packages))
}

export async function orNotHere<Value>(find: () => Promise<Value>): Promise<Value> {
  try {
    return await find()
  } catch (thrown) {
    throw new NotHere(messageOf(thrown), { cause: thrown })
  }
}

/** Starts a rival. One that is not to be had is said to be missing; one that is there and does not work is an error. */
export async function startRival(what: string, start: () => Promise<Omit<Rival, 'what'>>): Promise<Rival | Missing> {
  try {
    return { what, ...(await start()) }
  } catch (thrown) {
    if (thrown instanceof NotHere) return { what, missing: thrown.message }
    throw thrown
  }
}

export type Program = { file: string; args: string[]; env?: Record<string, string>; cwd?: string }

/** Runs a rival, and first what it stands before, until it is closed; resolves when its port answers 200 at `path`. */
export async function runRival(
  port: number,
  front: Program,
  { backend, path = '/' }: { backend?: Program & { socket: string }; path?: string } = {},
): Promise<Omit<Rival, 'what'>> {
  const running: Running[] = []
  const close = async () => {
    for (const program of running.toReversed()) await program.end()
  }
  try {
    if (backend) await start(backend, async () => (await stat(backend.socket)).isSocket(), running)
    await start(front, async () => (await ask(port, 'localhost', path)).status === 200, running)
  } catch (thrown) {
    await close()
    throw thrown
  }
  return { port, pids: () => running.flatMap(({ pid }) => withDescendants(pid)), close }
}

type Running = { pid: number; end(): Promise<void> }

async function start({ file, args, env, cwd }: Program, isUp: () => Promise<boolean>, running: Running[]) {
  const child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] })
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  running.push({
    pid: child.pid ?? 0,
    async end() {
      if (hasEnded()) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000)
  })
  for (let tries = 0; !(await isUp().catch(() => false)); tries++) {
    if (hasEnded() || tries > 500) throw new Error(`${file} ${args.join(' ')} does not serve: ${said}`)
    await pause(20)
  }
}
