import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { codeOf } from '../../registry/errors.ts'

export type OwnProcessOptions = Pick<SpawnOptions, 'stdio' | 'cwd'> & {
  env: NodeJS.ProcessEnv
  /** Null: as ourselves. */
  user?: { uid: number; gid: number } | null
  /** Sent to it when this process dies without a word; only where util-linux's setpriv is installed. */
  whenOrphaned?: NodeJS.Signals
}
export type Ended = { code: number | null; signal: NodeJS.Signals | null; livedMs: number; error?: Error }

/** A child in a process group of its own: a Ctrl-C on the terminal reaches only the supervisor, which then ends things in order. */
export class OwnProcess {
  readonly child: ChildProcess
  readonly exited: Promise<Ended>
  #ended: Ended | null = null

  static spawn(program: string, args: string[], { user, whenOrphaned, ...options }: OwnProcessOptions): OwnProcess {
    const setpriv = whenOrphaned && process.platform === 'linux' ? findOnPath('setpriv') : null
    const common = { ...options, detached: true }
    if (!setpriv) return new OwnProcess(spawn(program, args, { ...common, ...user }))

    const identity = user ? [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'] : []
    const orphan = `--pdeathsig=${whenOrphaned?.replace('SIG', '')}`
    return new OwnProcess(spawn(setpriv, [...identity, orphan, '--', program, ...args], common))
  }

  private constructor(child: ChildProcess) {
    const startedAt = performance.now()
    this.child = child
    this.exited = new Promise((resolve) => {
      const end = (ended: Omit<Ended, 'livedMs'>) => {
        this.#ended ??= { ...ended, livedMs: performance.now() - startedAt }
        resolve(this.#ended)
      }
      child.once('exit', (code, signal) => end({ code, signal }))
      child.once('error', (error) => child.pid === undefined && end({ code: null, signal: null, error }))
    })
  }

  /** 0 when it could not be started. */
  get pid(): number {
    return this.child.pid ?? 0
  }

  get isRunning(): boolean {
    return this.#ended === null
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.child.kill(signal)
  }

  /** Ends whatever is left of its process group. */
  killGroup(): void {
    try {
      if (this.pid > 0) process.kill(-this.pid, 'SIGKILL')
    } catch (thrown) {
      if (codeOf(thrown) !== 'ESRCH') throw thrown
    }
  }
}

function findOnPath(program: string): string | null {
  const directories = (process.env.PATH ?? '').split(delimiter).concat('/usr/bin', '/bin')
  return directories.map((directory) => join(directory, program)).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // not there, or not ours to run
  }
}
