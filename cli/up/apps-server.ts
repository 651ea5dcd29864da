import { existsSync } from 'node:fs'
import { messageOf } from '../../registry/errors.ts'
import { connect } from '../../registry/sql.ts'
import { accepts, appsRole, embeddedServers, type Passwords } from './database.ts'
import type { Home } from './home.ts'
import { EmbeddedPostgres, postgresUrl } from './postgres.ts'
import { inspectCluster } from './postgres-cluster.ts'
import { appsSettings } from './postgres-settings.ts'
import { postgresUser } from './postgres-user.ts'

const userName = 'atelier-apps'
const retryMs = 10_000

/** Looks whether what there is can be started. Throws HOME_UNUSABLE as for the platform's own. */
export async function inspectAppsServer(home: Home): Promise<void> {
  const dataDir = home.appsPostgresDir
  if (existsSync(dataDir)) await inspectCluster({ dataDir, user: await postgresUser(userName) })
}

/**
 * The Postgres of the apps' databases, apart from the platform's own: what one app does to it, the platform does not feel. It is made and started when the
 * first app wants a database, and from then on with the platform, beside which it may fail: that is said, and tried again.
 */
export class AppsServer {
  readonly #home: Home
  readonly #passwords: Passwords
  readonly #onNotice: (sentence: string) => void
  readonly #stopping = new AbortController()
  #server: Promise<EmbeddedPostgres | null> | null = null
  #retry: NodeJS.Timeout | undefined
  #complaint = ''

  constructor(home: Home, passwords: Passwords, { onNotice }: { onNotice: (sentence: string) => void }) {
    this.#home = home
    this.#passwords = passwords
    this.#onNotice = onNotice
  }

  /** Whether it was ever made. */
  get isThere(): boolean {
    return existsSync(this.#home.appsPostgresDir)
  }

  /** Resolves when it runs, or does not start. */
  async start(): Promise<void> {
    const { signal } = this.#stopping
    if (signal.aborted) return
    clearTimeout(this.#retry)
    this.#server ??= this.#start()
    if (await this.#server) return
    this.#server = null
    if (!signal.aborted) this.#retry = setTimeout(() => void this.start(), retryMs)
  }

  /** Ends it until somebody wants it again; to be called when nobody can yet. */
  async rest(): Promise<void> {
    clearTimeout(this.#retry)
    const server = await this.#server
    this.#server = null
    await server?.stop()
  }

  /** For good. */
  async stop({ hurry = false } = {}): Promise<void> {
    this.#stopping.abort()
    clearTimeout(this.#retry)
    const server = await this.#server
    await server?.stop({ hurry })
  }

  async #start(): Promise<EmbeddedPostgres | null> {
    try {
      const server = await EmbeddedPostgres.start({
        title: 'Postgres of the apps',
        userName,
        settings: appsSettings,
        dataDir: this.#home.appsPostgresDir,
        socketDir: this.#home.appsSocketDir,
        logFile: this.#home.logFile('apps-postgres'),
        copyDir: this.#home.runtimeDir,
        password: this.#passwords.appsPostgres,
        signal: this.#stopping.signal,
        onNotice: this.#onNotice,
      })
      return await this.#withMaker(server)
    } catch (thrown) {
      this.#complain(`the databases of apps are away: ${messageOf(thrown)}`)
      return null
    }
  }

  #complain(sentence: string): void {
    if (sentence !== this.#complaint && !this.#stopping.signal.aborted) this.#onNotice(sentence)
    this.#complaint = sentence
  }

  async #withMaker(server: EmbeddedPostgres): Promise<EmbeddedPostgres> {
    try {
      if (!(await accepts(embeddedServers(this.#home, this.#passwords).appsUrl))) await this.#makeMaker()
      return server
    } catch (thrown) {
      await server.stop()
      throw thrown
    }
  }

  async #makeMaker(): Promise<void> {
    const { appsSocketDir: socketDir } = this.#home
    const { appsPostgres: password, apps } = this.#passwords
    const url = postgresUrl({ socketDir, role: 'postgres', password, database: 'postgres' })
    const sql = connect(url, { max: 1, name: 'atelier-up' })
    try {
      // Whole or not at all: who waits for the role needs all of it.
      await sql.begin(async (all) => {
        const [role] = await all`select 1 from pg_roles where rolname = ${appsRole}`
        // A statement that defines things takes no parameters; the schema lets only letters, digits, - and _ into the password.
        const rights = 'login nosuperuser createdb createrole'
        await all.unsafe(`${role ? 'alter' : 'create'} role ${appsRole} ${rights} password '${apps}'`)
        await all.unsafe(`revoke connect, temporary on database postgres, template1 from public`)
        await all.unsafe(`grant connect on database postgres to ${appsRole}`)
        await all.unsafe(`grant pg_use_reserved_connections to ${appsRole}`)
      })
    } finally {
      await sql.end()
    }
  }
}
