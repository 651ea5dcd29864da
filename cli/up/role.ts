import { join } from 'node:path'
import { AppError, ERRORS } from '../../registry/errors.ts'
import { Backoff, pause } from './backoff.ts'
import type { LogLine } from './log-line.ts'
import { OwnProcess } from './own-process.ts'
import { RoleLog } from './role-log.ts'

export type RoleName = 'proxy' | 'registry' | 'gateway' | 'worker'

const root = join(import.meta.dirname, '../..')
const programs: Record<RoleName, string> = {
  proxy: 'proxy/main.ts',
  registry: 'registry/main.ts',
  gateway: 'git-gateway/main.ts',
  worker: 'build-workers/main.ts',
}
/** A role that ends this often before it ever served is not started again: the start has failed. */
const triesToServe = 3

export type RoleOptions = {
  env: NodeJS.ProcessEnv
  logFile: string
  onLine: (line: LogLine) => void
  onNotice: (sentence: string) => void
  /** It wants the server of the apps' databases. */
  onWant: () => void
  /** A process was started or has ended. */
  onProcess: () => void
}

/** One part of the platform as a child process: started, told apart from others by its own process group, started again when it crashes. */
export class Role {
  readonly name: RoleName
  /** Resolves when it serves for the first time; rejects with INTERNAL and its last words when it cannot. */
  readonly serving: Promise<void>
  readonly #options: RoleOptions
  readonly #log: RoleLog
  readonly #stopping = new AbortController()
  readonly #guard: Promise<void>
  #process: OwnProcess | null = null
  #markServing: () => void = () => undefined
  #hasServed = false
  #refusal: AppError | null = null

  constructor(name: RoleName, options: RoleOptions) {
    this.name = name
    this.#options = options
    this.#log = new RoleLog(options.logFile, options.onLine)
    const serving = Promise.withResolvers<void>()
    this.serving = serving.promise
    this.#markServing = serving.resolve
    this.#guard = this.#keepRunning(serving.reject)
  }

  /** Of the running process, or null between a crash and the next start. */
  get pid(): number | null {
    return this.#process?.isRunning ? this.#process.pid : null
  }

  /** Asks it to end and waits; what has not ended after `deadlineMs` is killed with its process group. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort()
    this.#process?.signal('SIGTERM')
    const timer = setTimeout(() => this.kill(), deadlineMs)
    await this.#guard
    clearTimeout(timer)
    this.#log.close()
  }

  kill(): void {
    if (this.#process?.isRunning) this.#process.killGroup()
  }

  async #keepRunning(giveUp: (error: Error) => void): Promise<void> {
    const backoff = new Backoff()
    const { signal } = this.#stopping
    for (let tries = 1; !signal.aborted; tries += 1) {
      const ended = await this.#runOnce()
      if (signal.aborted) break
      if (!this.#hasServed && this.#refusal) return giveUp(this.#refusal)
      if (!this.#hasServed && tries >= triesToServe) return giveUp(this.#failure())

      const delayMs = backoff.delayAfter(ended.livedMs)
      const how = ended.error?.message ?? ended.signal ?? `exit code ${ended.code}`
      this.#options.onNotice(`${this.name} ended unexpectedly (${how}); starting it again in ${delayMs / 1000} s`)
      await pause(delayMs, signal)
    }
    giveUp(new AppError('INTERNAL', `the ${this.name} was stopped`))
  }

  async #runOnce() {
    const child = OwnProcess.spawn(process.execPath, [join(root, programs[this.name])], {
      stdio: ['ignore', this.#log.fd, this.#log.fd, 'ipc'],
      cwd: root,
      env: this.#options.env,
    })
    this.#process = child
    this.#options.onProcess()
    child.child.on('message', (message) => this.#hear(message))

    const ended = await child.exited
    // What it had started in its group must not outlive it, holding sockets and locks.
    child.killGroup()
    this.#options.onProcess()
    return ended
  }

  #hear(message: unknown): void {
    if (typeof message !== 'object' || message === null) return
    if ('notice' in message) this.#options.onNotice(String(message.notice))
    if ('wants' in message) this.#options.onWant()
    if ('refused' in message) this.#refusal = readRefusal(message.refused)
    if (!('ready' in message)) return
    if (this.#hasServed) this.#options.onNotice(`${this.name} serves again`)
    this.#hasServed = true
    this.#markServing()
  }

  #failure(): AppError {
    const words = this.#log.lastLines.slice(-5).join('\n  ')
    return new AppError(
      'INTERNAL',
      `the ${this.name} does not start; its last words (all in ${this.#options.logFile}):\n  ${words}`,
    )
  }
}

// Why a role does not even try; starting it again would say the same.
function readRefusal(refused: unknown): AppError {
  const { code, message } = { code: 'INTERNAL', message: '', ...Object(refused) }
  return new AppError(code in ERRORS ? code : 'INTERNAL', String(message))
}
