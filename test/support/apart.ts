import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import { readConfig } from '../../registry/config.ts'
import { connect, type Sql } from '../../registry/sql.ts'
import { createDatabase, type TestDatabase } from './database.ts'
import { DatabaseLine } from './database-line.ts'
import { ask } from './http.ts'
import { freePort } from './machine.ts'
import { checkout, plainEnv, shareCompiledCode } from './platform.ts'
import { isAlive, processesOf, socketsOf } from './processes.ts'

/** A part of a platform whose parts run apart; there are two workers and two proxies, or three. */
export type PartName = 'gateway' | 'registry' | 'registry2' | 'worker1' | 'worker2' | 'proxy1' | 'proxy2' | 'proxy3'
const proxyNames: PartName[] = ['proxy1', 'proxy2', 'proxy3']

export type ApartOptions = {
  /** For every part, over what the topology needs: `ATELIER_QUEUE_URL`, `ATELIER_STORE_URL`. */
  env?: Record<string, string>
  proxies?: 2 | 3
  /** Each proxy reaches Postgres by a line of its own, which can be cut: `lineOf`. */
  cuttable?: boolean
}

/**
 * Roles as on machines of their own: each a process with its own home, on an external Postgres, with the bundle store the only place they
 * share. What a service manager does (start again what has ended) is done here, unless a part is `down`.
 */
export class ApartPlatform {
  readonly scratch: string
  readonly port: number
  readonly ports: number[]
  readonly workers: number = 2
  readonly #database: TestDatabase
  readonly #env: Record<string, string>
  readonly #lines: ReadonlyMap<PartName, DatabaseLine>
  readonly #parts: PartName[]
  readonly #running = new Map<PartName, ChildProcess>()
  readonly #down = new Set<PartName>()
  #isStopping = false

  static async prepare({ env = {}, proxies = 2, cuttable = false }: ApartOptions = {}): Promise<ApartPlatform> {
    const scratch = await mkdtemp('/tmp/at-')
    await chmod(scratch, 0o711)
    const ports: number[] = []
    while (ports.length < proxies) ports.push(await freePort())
    const [gateway, registry] = [await freePort(), await freePort()]
    const database = await createDatabase({ migrated: false })
    const settings = {
      ATELIER_DATABASE_URL: database.url,
      ATELIER_STORE_URL: `file:${join(scratch, 'store')}`,
      ATELIER_KEY: randomBytes(32).toString('base64'),
      ATELIER_ISOLATION: 'warn',
      ATELIER_GATEWAY_LISTEN: `127.0.0.1:${gateway}`,
      ATELIER_REGISTRY_LISTEN: `127.0.0.1:${registry}`,
      ATELIER_GATEWAY_URL: `http://127.0.0.1:${gateway}`,
      ATELIER_REGISTRY_URL: `http://127.0.0.1:${registry}`,
      ...env,
    }
    const lines = new Map<PartName, DatabaseLine>()
    if (cuttable) for (const name of proxyNames) lines.set(name, await DatabaseLine.open(database.url))
    return new ApartPlatform(scratch, { ports, database, lines, env: settings })
  }

  private constructor(
    scratch: string,
    {
      ports,
      database,
      lines,
      env,
    }: { ports: number[]; database: TestDatabase; lines: Map<PartName, DatabaseLine>; env: Record<string, string> },
  ) {
    this.scratch = scratch
    this.ports = ports
    this.port = ports[0] ?? 0
    this.#parts = ['registry', 'gateway', 'worker1', 'worker2', ...proxyNames.slice(0, ports.length)]
    this.#database = database
    this.#lines = lines
    this.#env = env
  }

  /** Where a person finds the admin token: on the machine of the registry. */
  get home(): string {
    return this.homeOf('registry')
  }

  /** What all parts have. */
  get settings(): Record<string, string> {
    return this.#env
  }

  get homes(): string[] {
    return this.#parts.map((name) => this.homeOf(name))
  }

  get gitDirectory(): string {
    return join(this.homeOf('gateway'), 'git')
  }

  /** Of parts that are not taken down. */
  get livingHomes(): string[] {
    return this.#parts.filter((name) => !this.#down.has(name)).map((name) => this.homeOf(name))
  }

  /** The way from a proxy to Postgres. */
  lineOf(name: PartName): DatabaseLine {
    const line = this.#lines.get(name)
    if (!line) throw new Error(`${name} has no line of its own; start the platform with cuttable`)
    return line
  }

  openStore(): Promise<BundleStore> {
    return openStore(readConfig(this.#env))
  }

  homeOf(name: PartName): string {
    return join(this.scratch, name)
  }

  async openDatabase(): Promise<Sql> {
    return connect(this.#database.url, { max: 2, name: 'test' })
  }

  /** All parts at once, on an empty database; resolves when the API answers and all workers and proxies are there. */
  async start(): Promise<this> {
    for (const name of this.#parts) this.startPart(name)
    await this.untilReady()
    return this
  }

  async untilReady(): Promise<void> {
    const answers = async () => {
      const asked = this.ports.flatMap((port) => ['api.localhost', 'git.localhost'].map((host) => statusOf(port, host)))
      return Promise.all(asked)
    }
    await expect.poll(answers, { timeout: 90_000, interval: 100 }).toEqual(this.ports.flatMap(() => [200, 200]))
    await expect.poll(() => this.adminToken().catch(() => ''), { timeout: 30_000 }).not.toBe('')
    await expect.poll(() => this.#edges(), { timeout: 30_000 }).toBe(this.ports.length)
  }

  /** `env`: over what all parts have, for this start and those that follow by themselves. */
  startPart(name: PartName, env: Record<string, string> = {}): void {
    this.#down.delete(name)
    void this.#run(name, env)
  }

  /** As the workers call themselves. */
  workerIdOf(name: 'worker1' | 'worker2'): string {
    return `worker-${hostname()}-${createHash('sha256').update(this.homeOf(name)).digest('hex').slice(0, 6)}`
  }

  /** kill -9, as a machine that is gone: nobody starts it again before `startPart`. */
  async takeDown(name: PartName, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#down.add(name)
    const child = this.#running.get(name)
    if (!child) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** kill -9; it is started again. Resolves to the id of the process that is gone. */
  async kill(name: PartName | 'worker' | 'proxy'): Promise<number> {
    const part = name === 'worker' ? 'worker1' : name === 'proxy' ? 'proxy1' : name
    const pid = this.pidOf(part)
    if (pid === null) throw new Error(`no ${part} is running`)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 60_000 })
    return pid
  }

  pidOf(name: PartName): number | null {
    return this.#running.get(name)?.pid ?? null
  }

  logOf(name: PartName): string {
    return readFileSync(join(this.scratch, `${name}.log`), 'utf8')
  }

  async adminToken(): Promise<string> {
    return (await readFile(join(this.home, 'admin-token'), 'utf8')).trim()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all([...this.#running.keys()].map((name) => this.takeDown(name, 'SIGTERM')))
    for (const home of this.homes) {
      const left = () => ({ processes: processesOf(home), sockets: socketsOf(home) })
      await vi.waitFor(() => expect(left()).toEqual({ processes: [], sockets: [] }), { timeout: 60_000 })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    for (const line of this.#lines.values()) await line[Symbol.asyncDispose]()
    await this.#database[Symbol.asyncDispose]()
    await rm(this.scratch, { recursive: true, force: true })
  }

  async #run(name: PartName, env: Record<string, string> = {}): Promise<void> {
    const home = this.homeOf(name)
    const line = this.#lines.get(name)
    await mkdir(home, { recursive: true })
    await shareCompiledCode(home)
    const child = spawn(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'serve', name.replace(/\d$/, '')], {
      env: {
        ...plainEnv(),
        ...this.#env,
        ...(line && { ATELIER_DATABASE_URL: line.url }),
        ATELIER_HOME: home,
        // All proxies serve the same addresses; a load balancer would stand before them.
        ATELIER_HTTP_PORT: String(this.ports[proxyNames.indexOf(name)] ?? this.port),
        ...env,
        // What is killed here is the role itself, not what launched it.
        ATELIER_LAUNCHED: '1',
        NODE_COMPILE_CACHE: join(home, 'compiled'),
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#running.set(name, child)
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: Buffer) => appendFileSync(join(this.scratch, `${name}.log`), text))
    await once(child, 'exit')
    if (this.#running.get(name) === child) this.#running.delete(name)
    if (this.#isStopping || this.#down.has(name)) return
    setTimeout(() => {
      if (!this.#isStopping && !this.#down.has(name) && !this.#running.has(name)) void this.#run(name, env)
    }, 200)
  }

  async #edges(): Promise<number> {
    const [row] = await this.#database.sql<{ alive: number }[]>`
      select count(*)::integer as alive
      from edges
      where seen_at > now() - interval '5 seconds'
    `
    return row?.alive ?? 0
  }
}

async function statusOf(port: number, host: string): Promise<number> {
  return ask(port, host, '/health').then(
    ({ status }) => status,
    () => 0,
  )
}
