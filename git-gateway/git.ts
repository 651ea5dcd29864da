import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'
import { AppError, messageOf } from '../registry/errors.ts'
import { gitEnvironment } from './git-environment.ts'

const hooksDir = join(import.meta.dirname, 'hooks')
// Of util-linux. Where there is none, GIT_ALLOC_LIMIT and the gateway's clock stand alone.
const prlimit = ['/usr/bin/prlimit', '/bin/prlimit'].find((path) => existsSync(path))

export type GitResult = { code: number; stdout: string; stderr: string }
export type StartOptions = {
  env?: Record<string, string>
  stdio: SpawnOptions['stdio']
  /** For each process: of memory of its own, and of processor time, when it outlives even the gateway. */
  caps?: { dataMb: number; cpuSec: number }
}
export type GitOptions = { env?: Record<string, string>; signal?: AbortSignal; maxBytes?: number }

/**
 * Runs git with an environment of its own: no settings of the host or of a person, none of the gateway's secrets, and the rules a pushed
 * repository cannot change. Long-running children are groups of their own and end with `close()`.
 */
export class Git {
  readonly #env: NodeJS.ProcessEnv
  readonly #children = new Set<ChildProcess>()

  constructor({ maxPackBytes }: { maxPackBytes: number }) {
    // git passes over a hook it may not run, and with it everything the hook checks.
    for (const hook of ['pre-receive', 'proc-receive']) accessSync(join(hooksDir, hook), constants.X_OK)
    this.#env = gitEnvironment({ hooksDir, maxPackBytes })
  }

  /** Throws INTERNAL when there is no git, or one too old to keep its settings out of a repository's hands (safe.bareRepository, 2.38). */
  async check(): Promise<void> {
    const { stdout } = await this.run('/nonexistent', ['--version'])
    const [, major, minor] = /^git version (\d+)\.(\d+)/.exec(stdout) ?? []
    if (Number(major) * 1000 + Number(minor) >= 2038) return
    throw new AppError('INTERNAL', `Atelier needs git 2.38 or newer, and this is ${stdout.trim() || 'none'}`)
  }

  /** A short command on a repository, to its end; a failing exit code is the caller's to judge. Throws INTERNAL when git cannot run. */
  run(
    repository: string,
    args: string[],
    { env = {}, signal, maxBytes = 1_048_576 }: GitOptions = {},
  ): Promise<GitResult> {
    return new Promise((resolve, reject) => {
      const options = {
        env: { ...this.#env, ...env },
        signal,
        maxBuffer: maxBytes,
        timeout: 60_000,
        killSignal: 'SIGKILL' as const,
      }
      execFile('git', ['--git-dir', repository, ...args], options, (error, stdout, stderr) => {
        if (!error) return resolve({ code: 0, stdout, stderr })
        if (typeof error.code === 'number') return resolve({ code: error.code, stdout, stderr })
        reject(new AppError('INTERNAL', `git ${args[0]} did not run: ${messageOf(error)}`, { cause: error }))
      })
    })
  }

  /** A command that streams. Its process group is ended by `endGroup` or by `close`. */
  start(args: string[], { env = {}, stdio, caps }: StartOptions): ChildProcess {
    const options = { env: { ...this.#env, ...env }, stdio, detached: true }
    const child: ChildProcess =
      caps && prlimit ? spawn(prlimit, [...capsOf(caps), 'git', ...args], options) : spawn('git', args, options)
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    child.once('error', () => this.#children.delete(child))
    for (const stream of child.stdio) stream?.on('error', ignoreBrokenPipe)
    return child
  }

  /** Ends every child, and waits for that. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map(endGroup))
  }
}

/** Ends a child and what it started: asks, and after two seconds forces. Resolves when it is gone. */
export async function endGroup(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return
  const gone = once(child, 'exit')
  signalGroup(child, 'SIGTERM')
  const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), 2000)
  await gone
  clearTimeout(timer)
}

/** The exit of a child, also of one that has ended already. Code -1: it could not be started, or a signal ended it. */
export async function exitOf(child: ChildProcess): Promise<number> {
  if (!hasEnded(child)) {
    await new Promise((resolve) => {
      child.once('exit', resolve)
      child.once('error', resolve)
    })
  }
  return child.exitCode ?? -1
}

function capsOf({ dataMb, cpuSec }: { dataMb: number; cpuSec: number }): string[] {
  return [`--data=${dataMb * 1_048_576}`, `--cpu=${cpuSec}`]
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch (thrown) {
    // ESRCH: it ended in the meantime, which is what was wanted.
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ESRCH')) throw thrown
  }
}

// A child that ends early breaks the pipe to it; its exit says why, and whoever waits for it looks there.
function ignoreBrokenPipe(): void {}
