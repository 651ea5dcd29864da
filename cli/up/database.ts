import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { AppError, codeOf } from '../../registry/errors.ts'
import { connect } from '../../registry/sql.ts'
import type { Home } from './home.ts'
import { EmbeddedPostgres, postgresUrl } from './postgres.ts'
import { inspectCluster } from './postgres-cluster.ts'
import { postgresUser } from './postgres-user.ts'
import { readPrivately, writePrivately } from './private-file.ts'

const generated = z.string().regex(/^[A-Za-z0-9_-]{20,}$/)
// A home that is older has not all of them yet.
const passwordsSchema = z.object({
  postgres: generated,
  atelier: generated,
  apps: generated.optional(),
  appsPostgres: generated.optional(),
})
/** Of the superuser, of the platform's own role, of the one that makes the databases of apps (these are none), and of their server's superuser. */
export type Passwords = Required<z.infer<typeof passwordsSchema>>

/**
 * Looks whether the embedded database can be started, before anything is; makes its passwords when there is none yet. Throws
 * HOME_UNUSABLE when it or its passwords are damaged, lost, or another user's.
 */
export async function inspectDatabase(home: Home): Promise<Passwords> {
  const state = await inspectCluster({ dataDir: home.postgresDir, user: await postgresUser() })
  const kept = await readPrivately(home.postgresPasswords)
  if (kept !== null) {
    const read = parsePasswords(kept, home)
    const whole = { ...read, apps: read.apps ?? newPassword(), appsPostgres: read.appsPostgres ?? newPassword() }
    if (!read.apps || !read.appsPostgres) await writePasswords(home, whole)
    return whole
  }
  if (state === 'ready') {
    const message = `the home has a database and its passwords are gone; restore ${home.postgresPasswords} from a backup`
    throw new AppError('HOME_UNUSABLE', message)
  }
  const made = {
    postgres: newPassword(),
    atelier: newPassword(),
    apps: newPassword(),
    appsPostgres: newPassword(),
  }
  await writePasswords(home, made)
  return made
}

/** Where the platform finds the embedded database, known before it runs. */
export function embeddedUrl(home: Home, passwords: Passwords): string {
  return postgresUrl({
    socketDir: home.socketDir,
    role: 'atelier',
    password: passwords.atelier,
    database: 'atelier',
  })
}

/** The same for who makes databases of apps: on the server of their own, and on the platform's, where they were before there was one. */
export function embeddedServers(home: Home, passwords: Passwords): { appsUrl: string; elderUrl: string } {
  const maker = { role: appsRole, password: passwords.apps, database: 'postgres' }
  return {
    appsUrl: postgresUrl({ ...maker, socketDir: home.appsSocketDir }),
    elderUrl: postgresUrl({ ...maker, socketDir: home.socketDir }),
  }
}

/** Makes databases of apps, and their roles. */
export const appsRole = 'atelier_apps'

/**
 * Starts the embedded Postgres with the platform's role and database in it; makes what is missing. Throws HOME_UNUSABLE for a damaged
 * home, DATABASE_UNAVAILABLE when Postgres does not start.
 */
export async function startDatabase(
  home: Home,
  passwords: Passwords,
  { signal, onNotice }: { signal: AbortSignal; onNotice: (sentence: string) => void },
): Promise<EmbeddedPostgres> {
  const postgres = await EmbeddedPostgres.start({
    dataDir: home.postgresDir,
    socketDir: home.socketDir,
    logFile: home.logFile('postgres'),
    copyDir: home.runtimeDir,
    password: passwords.postgres,
    signal,
    onNotice,
  })
  try {
    const urls = [embeddedUrl(home, passwords), embeddedServers(home, passwords).elderUrl]
    if ((await Promise.all(urls.map(accepts))).includes(false)) await makeDatabase(home, passwords)
    return postgres
  } catch (thrown) {
    await postgres.stop()
    throw thrown
  }
}

function writePasswords(home: Home, passwords: Passwords): Promise<void> {
  return writePrivately(home.postgresPasswords, `${JSON.stringify(passwords, null, 2)}\n`)
}

function parsePasswords(text: string, home: Home): z.infer<typeof passwordsSchema> {
  try {
    return passwordsSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new AppError('HOME_UNUSABLE', `${home.postgresPasswords} is damaged; restore it from a backup`, { cause })
  }
}

function newPassword(): string {
  return randomBytes(24).toString('base64url')
}

// 3D000: no such database; 28P01 and 28000: no such role, or another password. All mean: not made yet, or not wholly.
export async function accepts(url: string): Promise<boolean> {
  const sql = connect(url, { max: 1, name: 'atelier-up' })
  try {
    await sql`select 1`
    return true
  } catch (thrown) {
    if (['3D000', '28P01', '28000'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  } finally {
    await sql.end()
  }
}

async function makeDatabase(home: Home, passwords: Passwords): Promise<void> {
  const url = postgresUrl({
    socketDir: home.socketDir,
    role: 'postgres',
    password: passwords.postgres,
    database: 'postgres',
  })
  const sql = connect(url, { max: 1, name: 'atelier-up' })
  try {
    const [role] = await sql`select 1 from pg_roles where rolname = 'atelier'`
    // A statement that defines things takes no parameters; the schema lets only letters, digits, - and _ into the password.
    await sql.unsafe(`${role ? 'alter' : 'create'} role atelier login nosuperuser password '${passwords.atelier}'`)
    const [database] = await sql`select 1 from pg_database where datname = 'atelier'`
    if (!database) await sql`create database atelier owner atelier`
    await sql`grant pg_use_reserved_connections to atelier`
    const [apps] = await sql`select 1 from pg_roles where rolname = ${appsRole}`
    const rights = 'login nosuperuser createdb createrole'
    await sql.unsafe(`${apps ? 'alter' : 'create'} role ${appsRole} ${rights} password '${passwords.apps}'`)
    // Roles of apps may connect to their own databases only.
    await sql.unsafe(`revoke connect, temporary on database atelier, postgres, template1 from public`)
    await sql.unsafe(`grant connect on database postgres to ${appsRole}`)
  } finally {
    await sql.end()
  }
}
