import { existsSync } from 'node:fs'
import { agreeOnKey, agreeOnRepositories, agreeOnStore } from '../../registry/agreement.ts'
import { hasEmbeddedDatabases } from '../../registry/app-databases.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import type { Config } from '../../registry/config.ts'
import { AppError, messageOf, toAppError } from '../../registry/errors.ts'
import { migrate } from '../../registry/migrate.ts'
import { loadKey } from '../../registry/secrets.ts'
import { connect, isUnreachable, type Sql } from '../../registry/sql.ts'
import { provideAccess } from './access.ts'
import { addressesOf, writeAddresses } from './addresses.ts'
import { AppsServer, inspectAppsServer } from './apps-server.ts'
import { embeddedServers, embeddedUrl, inspectDatabase, type Passwords, startDatabase } from './database.ts'
import { type Home, prepareHome } from './home.ts'
import { type HomeLock, lockHome } from './home-lock.ts'
import { endLeftovers, noteProcesses } from './leftovers.ts'
import { refusePoorMachine } from './machine-limits.ts'
import { refuseBusyPort } from './port.ts'
import type { EmbeddedPostgres } from './postgres.ts'
import { Role, type RoleName } from './role.ts'
import type { Terminal } from './terminal.ts'
import { installWallPackages, missingWallPackages } from './wall-packages.ts'

/** The proxy lets requests in flight end for 30 s; the others have less to finish. */
const proxyDeadlineMs = 40_000
const roleDeadlineMs = 20_000

/** The platform serves; the code signs one browser in to its console, once. */
export type Started = { signInCode: string; adminTokenFile: string }

/** The whole platform on this machine: every role a child process, and the embedded Postgres unless the configuration names another. */
export class Supervisor {
  readonly #config: Config
  readonly #terminal: Terminal
  readonly #home: Home
  readonly #lock: HomeLock
  /** Of the embedded database; null when the configuration names another. */
  readonly #passwords: Passwords | null
  readonly #stopping = new AbortController()
  readonly #roles = new Map<RoleName, Role>()
  readonly #apps: AppsServer | null
  #postgres: Promise<EmbeddedPostgres> | null = null
  #noting: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | null = null

  /**
   * Takes the home and looks whether the port is free; ends what a killed supervisor left. Throws HOME_UNUSABLE, HOME_IN_USE, PORT_IN_USE
   * or CONFIG_ENV before anything is started.
   */
  static async claim(config: Config, { terminal }: { terminal: Terminal }): Promise<Supervisor> {
    const home = await prepareHome(config)
    const lock = await lockHome(home.path)
    try {
      refusePoorMachine({ path: home.path, isNew: !existsSync(home.postgresDir) && config.databaseUrl === null })
      await loadKey(config)
      const passwords = config.databaseUrl === null ? await inspectDatabase(home) : null
      if (passwords) await inspectAppsServer(home)
      const left = await terminal.during('ending what an earlier run left', endLeftovers(home.processesFile))
      if (left.length > 0) terminal.notice(`ended what an earlier run left: ${left.join(', ')}`)
      await refuseBusyPort(config.httpPort)
      await strengthenWalls(terminal)
      return new Supervisor(config, { terminal, home, lock, passwords })
    } catch (thrown) {
      await lock.release()
      throw thrown
    }
  }

  private constructor(
    config: Config,
    {
      terminal,
      home,
      lock,
      passwords,
    }: { terminal: Terminal; home: Home; lock: HomeLock; passwords: Passwords | null },
  ) {
    this.#config = config
    this.#terminal = terminal
    this.#home = home
    this.#lock = lock
    this.#passwords = passwords
    const onNotice = (sentence: string) => terminal.notice(sentence)
    this.#apps = passwords && new AppsServer(home, passwords, { onNotice })
  }

  /** Resolves when every role serves. Throws an AppError, with nothing left running, when that cannot be. */
  async start(): Promise<Started> {
    try {
      const databaseUrl = this.#passwords ? embeddedUrl(this.#home, this.#passwords) : (this.#config.databaseUrl ?? '')
      const env = this.#roleEnv(databaseUrl)
      // First the proxy: it serves apps from its own disk before there is a database to ask.
      const proxy = this.#startRole('proxy', env)
      if (this.#passwords) this.#postgres = this.#startPostgres(this.#passwords)
      if (this.#apps?.isThere) void this.#apps.start()
      const [{ signInCode }] = await Promise.all([this.#startControlPlane(databaseUrl, env), proxy.serving])
      await writeAddresses(this.#home.addressFile, addressesOf(this.#config, process.pid))
      return { signInCode, adminTokenFile: this.#home.adminTokenFile }
    } catch (thrown) {
      await this.stop()
      throw toAppError(thrown)
    }
  }

  /** Ends gateway, worker and registry, then lets the proxy drain; Postgres goes last. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder()
    return this.#stopped
  }

  /** The same at once: requests in flight are cut. */
  hurry(): void {
    for (const role of this.#roles.values()) role.kill()
    void this.#stopPostgres({ hurry: true })
  }

  #startPostgres(passwords: Passwords): Promise<EmbeddedPostgres> {
    return startDatabase(this.#home, passwords, {
      signal: this.#stopping.signal,
      onNotice: (sentence) => this.#terminal.notice(sentence),
    })
  }

  async #startControlPlane(databaseUrl: string, env: NodeJS.ProcessEnv): Promise<{ signInCode: string }> {
    if (this.#postgres) await this.#terminal.during('starting the database', this.#postgres)
    const access = await this.#prepareDatabase(databaseUrl)
    this.#stopping.signal.throwIfAborted()
    const roles = (['registry', 'gateway', 'worker'] as const).map((name) => this.#startRole(name, env))
    await this.#terminal.during(
      'starting registry, gateway and worker',
      Promise.all(roles.map(({ serving }) => serving)),
    )
    return access
  }

  async #prepareDatabase(url: string): Promise<{ signInCode: string }> {
    const sql = connect(url, { max: 2, name: 'atelier-up', answerWithinMs: null })
    try {
      await this.#terminal.during('migrating the database', migrate(sql))
      await agreeOnKey(sql, this.#config)
      await this.#noteOwnership(sql)
      if (this.#apps?.isThere && !(await hasEmbeddedDatabases(sql))) await this.#apps.rest()
      return await provideAccess(sql, this.#home.adminTokenFile)
    } catch (cause) {
      if (!isUnreachable(cause) || this.#postgres) throw cause
      const message = `the database that ATELIER_DATABASE_URL names cannot be reached (${messageOf(cause)})`
      throw new AppError('DATABASE_UNAVAILABLE', message, { cause })
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  // For parts that are started elsewhere later. What is wrong here is no reason to keep what is live from being served.
  async #noteOwnership(sql: Sql): Promise<void> {
    const config = this.#config
    const compared = [
      async () => agreeOnStore(sql, await openStore(config), config.storeUrl),
      () => agreeOnRepositories(sql, config.home),
    ]
    for (const compare of compared) {
      try {
        await compare()
      } catch (thrown) {
        if (isUnreachable(thrown)) throw thrown
        this.#terminal.notice(messageOf(thrown))
      }
    }
  }

  #roleEnv(databaseUrl: string): NodeJS.ProcessEnv {
    return {
      ...process.env,
      ATELIER_HOME: this.#config.home,
      ATELIER_DATABASE_URL: databaseUrl,
      // Its default depends on whether the database is embedded, which the roles cannot tell.
      ATELIER_ISOLATION: this.#config.isolation,
      NODE_COMPILE_CACHE: this.#home.compileCache,
    }
  }

  // The proxy need not be able to make databases, and the gateway has nothing to do with them.
  #appsEnv(name: RoleName): NodeJS.ProcessEnv {
    if (!this.#passwords || name === 'gateway') return {}
    const { appsUrl, elderUrl } = embeddedServers(this.#home, this.#passwords)
    return name === 'proxy'
      ? { ATELIER_EMBEDDED_APPS_URL: withoutCredentials(appsUrl) }
      : { ATELIER_EMBEDDED_APPS_URL: appsUrl, ATELIER_EMBEDDED_ELDER_URL: elderUrl }
  }

  #startRole(name: RoleName, env: NodeJS.ProcessEnv): Role {
    const logFile = this.#home.logFile(name)
    const role = new Role(name, {
      env: { ...env, ...this.#appsEnv(name) },
      logFile,
      onLine: (line) => this.#terminal.roleLine(name, line, logFile),
      onNotice: (sentence) => this.#terminal.notice(sentence),
      onWant: () => void this.#apps?.start(),
      onProcess: () => this.#noteProcesses(),
    })
    this.#roles.set(name, role)
    return role
  }

  #noteProcesses(): void {
    this.#noting = this.#noting.then(async () => {
      const running = [...this.#roles.values()].flatMap(({ name, pid }) => (pid === null ? [] : [{ name, pid }]))
      try {
        await noteProcesses(this.#home.processesFile, running)
      } catch (thrown) {
        this.#terminal.notice(`${this.#home.processesFile} cannot be written: ${messageOf(thrown)}`)
      }
    })
  }

  async #stopInOrder(): Promise<void> {
    this.#stopping.abort(new AppError('INTERNAL', 'stopped while starting'))
    const end = (name: RoleName, deadlineMs: number) => this.#roles.get(name)?.stop(deadlineMs)
    const hint = '(Ctrl-C again: stop at once)'
    await this.#terminal.during(
      `ending gateway, worker and registry ${hint}`,
      Promise.all([end('gateway', roleDeadlineMs), end('worker', roleDeadlineMs), end('registry', roleDeadlineMs)]),
    )
    await this.#terminal.during(
      `letting requests in flight end ${hint}`,
      Promise.resolve(end('proxy', proxyDeadlineMs)),
    )
    await this.#terminal.during('ending the database', this.#stopPostgres())
    await this.#noting
    await this.#withdrawAddresses()
    await this.#lock.release()
  }

  async #stopPostgres({ hurry = false } = {}): Promise<void> {
    const [started] = await Promise.allSettled([this.#postgres])
    const own = started.status === 'fulfilled' ? started.value : null
    await Promise.all([own?.stop({ hurry }), this.#apps?.stop({ hurry })])
  }

  // Other commands see by it that nothing runs here. A disk that is full must not keep the platform from ending.
  async #withdrawAddresses(): Promise<void> {
    try {
      if (existsSync(this.#home.addressFile))
        await writeAddresses(this.#home.addressFile, addressesOf(this.#config, null))
    } catch (thrown) {
      this.#terminal.notice(`${this.#home.addressFile} cannot be written: ${messageOf(thrown)}`)
    }
  }
}

function withoutCredentials(address: string): string {
  const url = new URL(address)
  url.username = ''
  url.password = ''
  return url.href
}

// Once on a new machine, and before the first program is started behind walls.
async function strengthenWalls(terminal: Terminal): Promise<void> {
  const packages = missingWallPackages()
  if (packages.length === 0) return
  const problem = await terminal.during(`installing ${packages.join(', ')}`, installWallPackages(packages))
  terminal.notice(problem ?? `installed ${packages.join(', ')}, which the walls around apps are made of`)
}
