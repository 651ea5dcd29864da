import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import { readConfig } from '../../registry/config.ts'
import { connect, type Sql } from '../../registry/sql.ts'
import { freePort } from './machine.ts'
import { connectToHome } from './platform-database.ts'
import { isAlive, processesOf, socketsOf } from './processes.ts'

export type RoleName = 'proxy' | 'registry' | 'gateway' | 'worker'
export type PlatformOptions = {
  /** A new one below /tmp when left out. */
  home?: string
  /** A free one when left out. */
  port?: number
  /** Further variables, ATELIER_ ones among them. */
  env?: Record<string, string | undefined>
  /** The checkout to start from; the tests' own when left out. */
  from?: string
  /** Words before the command: what starts it. */
  before?: string[]
  /** Who starts it; the tests' own user when left out. */
  user?: { uid: number; gid: number }
}
export type Exit = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }

export const checkout = join(import.meta.dirname, '../..')

/** `atelier up` as a process, with what it says. */
export class Platform {
  /** A directory that is removed with the platform. */
  readonly scratch: string
  readonly home: string
  readonly port: number
  stdout = ''
  stderr = ''
  readonly #options: PlatformOptions
  #launcher: ChildProcess | null = null
  #ended: Promise<void> = Promise.resolve()
  #onOutput: () => void = () => undefined

  /** Nothing is started yet. */
  static async prepare(options: PlatformOptions = {}): Promise<Platform> {
    // Short, for so are the paths of unix sockets; passable, for apps and Postgres run as other users when the tests run as root.
    const scratch = await mkdtemp('/tmp/at-')
    await chmod(scratch, 0o711)
    if (options.user) await chown(scratch, options.user.uid, options.user.gid)
    else if (!options.home) await shareCompiledCode(join(scratch, 'home'))
    return new Platform(scratch, { ...options, port: options.port ?? (await freePort()) })
  }

  private constructor(scratch: string, options: PlatformOptions & { port: number }) {
    this.scratch = scratch
    this.#options = options
    this.home = options.home ?? join(scratch, 'home')
    this.port = options.port
  }

  /** Resolves at the ready block; rejects with all it said when it ends before. */
  async start(): Promise<this> {
    this.launch()
    return this.ready()
  }

  async ready(): Promise<this> {
    const isReady = () => this.stdout.includes('npm link')
    const ready = new Promise<void>((resolve) => {
      this.#onOutput = () => isReady() && resolve()
      this.#onOutput()
    })
    await Promise.race([ready, this.#ended])
    if (isReady()) return this
    throw new Error(`atelier up ended with ${this.#launcher?.exitCode}:\n${this.stdout}${this.stderr}`)
  }

  /** Starts it and waits for nothing; `ready()` and `exit()` do. */
  launch(): void {
    this.stdout = ''
    this.stderr = ''
    const { from = checkout, user, env, before = [] } = this.#options
    const [program = '', ...args] = [...before, process.execPath, join(from, 'cli/atelier.mjs'), 'up']
    const child = spawn(program, args, {
      cwd: from,
      env: { ...plainEnv(), ...env, ATELIER_HOME: this.home, ATELIER_HTTP_PORT: String(this.port) },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...user,
    })
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        this[name] += text
        this.#onOutput()
      })
    }
    this.#launcher = child
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', () => resolve())
    })
  }

  /** Waits for its end. */
  async exit(): Promise<Exit> {
    await this.#ended
    const { exitCode = null, signalCode = null } = this.#launcher ?? {}
    return { code: exitCode, signal: signalCode, stdout: this.stdout, stderr: this.stderr }
  }

  signal(signal: NodeJS.Signals): void {
    this.#launcher?.kill(signal)
  }

  /** As Ctrl-C does it; then proves that nothing of it is left. */
  async stop(): Promise<Exit> {
    this.signal('SIGINT')
    const exit = await this.exit()
    await this.expectNothingLeft()
    return exit
  }

  /** No process and no open socket: whoever had the port was one of them. A killed process may take a moment to be gone. */
  async expectNothingLeft(): Promise<void> {
    const left = () => ({ processes: processesOf(this.home), sockets: socketsOf(this.home) })
    await vi.waitFor(() => expect(left()).toEqual({ processes: [], sockets: [] }), { timeout: 60_000 })
  }

  get livingHomes(): string[] {
    return [this.home]
  }

  readonly workers: number = 1

  get ports(): number[] {
    return [this.port]
  }

  get gitDirectory(): string {
    return join(this.home, 'git')
  }

  openStore(): Promise<BundleStore> {
    return openStore(readConfig({ ...this.#options.env, ATELIER_HOME: this.home }))
  }

  openDatabase(): Promise<Sql> {
    const url = this.#options.env?.ATELIER_DATABASE_URL
    return url ? Promise.resolve(connect(url, { max: 2, name: 'test' })) : connectToHome(this.home)
  }

  /** What atelier.json says. */
  async addresses(): Promise<{ api: string; git: string; console: string; pid: number | null }> {
    return JSON.parse(await readFile(join(this.home, 'atelier.json'), 'utf8'))
  }

  async adminToken(): Promise<string> {
    return (await readFile(join(this.home, 'admin-token'), 'utf8')).trim()
  }

  /** The process that serves a role now, or null between two. */
  async pidOf(role: RoleName): Promise<number | null> {
    const text = await readFile(join(this.home, 'run/processes.json'), 'utf8')
    const running: { name: string; pid: number }[] = JSON.parse(text)
    return running.find(({ name, pid }) => name === role && isAlive(pid))?.pid ?? null
  }

  /** kill -9; resolves to the id of the process that is gone then. */
  async kill(role: RoleName): Promise<number> {
    const pid = await this.pidOf(role)
    if (pid === null) throw new Error(`no ${role} is running`)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 60_000 })
    return pid
  }

  /** Kills launcher and supervisor without a word. */
  async killSupervisor(): Promise<void> {
    const { pid } = await this.addresses()
    this.#launcher?.kill('SIGKILL')
    if (pid) process.kill(pid, 'SIGKILL')
    await this.#ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await rm(this.scratch, { recursive: true, force: true })
  }
}

// What the roles compile is kept from one test's home to the next: a second of processor time for each start.
export async function shareCompiledCode(home: string): Promise<void> {
  const shared = join(checkout, 'node_modules/.cache/atelier-compiled')
  await mkdir(shared, { recursive: true, mode: 0o700 })
  await mkdir(home, { recursive: true })
  await symlink(shared, join(home, 'compiled')).catch((thrown: unknown) => {
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EEXIST')) throw thrown
  })
}

/** The environment a person's shell would have: without what the test runner put there. */
export function plainEnv(): NodeJS.ProcessEnv {
  const foreign =
    /^(ATELIER_|VITEST|npm_|GIT_(?!SSL)|NODE_(ENV|OPTIONS|COMPILE_CACHE|CHANNEL)|(TEST|DEV|PROD|MODE|SSR|BASE_URL)$)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}
