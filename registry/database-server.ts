import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import type { Config } from './config.ts'
import { AppError, codeOf, messageOf } from './errors.ts'
import { connect, type DatabaseAddress, isUnreachable, parseDatabaseUrl, type Sql } from './sql.ts'

/** Sessions a role may have at a time, when it has signed in. */
export const roleConnections = 20
const statementTimeout = '15min'
const idleInTransaction = '10min'
const lockTimeout = '5min'

/** What its role may: all, nothing that writes, not even sign in. */
export type DatabaseBound = 'open' | 'read-only' | 'closed'
export type DatabaseFacts = { name: string; bytes: number; connections: number; bound: DatabaseBound }

type ServerConfig = Pick<Config, 'databaseUrl' | 'appsDatabaseUrl' | 'embedded'>
/** A database by its name, and whether it is on the server that `atelier up` brings for apps alone; default: where the configuration says. */
type Placed = { name: string; embedded?: boolean }

/** Where a database of an app is, without who may make them. */
export function databaseServerOf(
  config: ServerConfig,
  { embedded = false }: Pick<Placed, 'embedded'> = {},
): Pick<DatabaseAddress, 'host' | 'port' | 'ssl'> {
  const { host, port, ssl } = parseDatabaseUrl(serverUrl(config, embedded))
  return { host, port, ssl }
}

/** Where a new database goes: to the server that `atelier up` brings for apps, unless another is named. */
export function isNewEmbedded({ embedded, appsDatabaseUrl }: ServerConfig): boolean {
  return embedded !== null && appsDatabaseUrl === null
}

/**
 * Makes a database and the role that owns it, both called `name`, or brings what there is to that state: the role may sign in with this password and
 * do nothing else on the server, and nobody else may connect to the database. What was begun and cut off is finished. 170 ms, of one that is there 25 ms.
 * Throws PROVISION_FAILED, in a sentence for whoever deploys.
 */
export async function makeAppDatabase(
  config: ServerConfig,
  { name, password, embedded = false }: Placed & { password: string },
): Promise<{ serverMajor: number }> {
  return onServer(config, embedded, async (sql) => {
    const [me] = await sql<{ name: string; isSuper: boolean; may: boolean; version: number }[]>`
      select rolname as name, rolsuper as is_super, rolsuper or (rolcreatedb and rolcreaterole) as may,
             current_setting('server_version_num')::integer as version
      from pg_roles
      where rolname = current_user
    `
    if (!me?.may) throw new AppError('PROVISION_FAILED', mayNot(me?.name ?? 'the role of the platform'))
    await makeRole(sql, { name, password, isNew: !(await exists(sql, 'role', name)) })
    // Whoever creates roles may give them away, but is not one of their members by itself; a database's owner has to be.
    if (!me.isSuper)
      await sql.unsafe(
        `grant ${plain(name)} to current_user${me.version >= 160_000 ? ' with inherit true, set true' : ''}`,
      )
    if (!(await exists(sql, 'database', name)))
      await sql.unsafe(`create database ${plain(name)} owner ${plain(name)} template template0`)
    await sql.unsafe(`revoke all on database ${plain(name)} from public`)
    if (serverUrl(config, embedded) === config.databaseUrl) await closeOwn(sql)
    return { serverMajor: Math.floor(me.version / 10_000) }
  })
}

/**
 * Drops the database, whoever is connected to it, and its role; a role that other apps have granted something stays, and may not sign in any more. One
 * that is gone is no failure. Throws PROVISION_FAILED.
 */
export async function dropAppDatabase(config: ServerConfig, { name, embedded = false }: Placed): Promise<void> {
  await onServer(config, embedded, async (sql) => {
    if (await exists(sql, 'role', name)) await sql.unsafe(`alter role ${plain(name)} nologin password null`)
    // Its owner may have made a template of it, which nobody can drop.
    if (await exists(sql, 'database', name)) await sql.unsafe(`alter database ${plain(name)} is_template false`)
    await sql.unsafe(`drop database if exists ${plain(name)} with (force)`)
    await dropRole(sql, name)
  })
}

// 2BP01: another app's database names it in its grants, in a database that is not ours to look into.
async function dropRole(sql: Sql, name: string): Promise<void> {
  try {
    await sql.unsafe(`drop role if exists ${plain(name)}`)
  } catch (thrown) {
    if (codeOf(thrown) !== '2BP01') throw thrown
  }
}

/** Size and sessions of those databases that are there. Throws PROVISION_FAILED. */
export async function readDatabaseFacts(config: ServerConfig, databases: Placed[]): Promise<DatabaseFacts[]> {
  const facts = [true, false].map((embedded) => {
    const names = databases.filter((one) => (one.embedded ?? false) === embedded).map(({ name }) => name)
    return names.length === 0 ? [] : readFactsOn(config, { names, embedded })
  })
  return (await Promise.all(facts)).flat()
}

/** Bounds what its role may from now on, sessions that it has among it. Throws PROVISION_FAILED. */
export async function boundAppDatabase(
  config: ServerConfig,
  { name, embedded = false }: Placed,
  bound: DatabaseBound,
): Promise<void> {
  await onServer(config, embedded, async (sql) => {
    await sql.unsafe(`alter role ${plain(name)} connection limit ${bound === 'closed' ? 0 : roleConnections}`)
    const readOnly = bound === 'open' ? 'reset default_transaction_read_only' : 'set default_transaction_read_only = on'
    await sql.unsafe(`alter role ${plain(name)} ${readOnly}`)
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${name}`
  })
}

function readFactsOn(config: ServerConfig, { names, embedded }: { names: string[]; embedded: boolean }) {
  return onServer(
    config,
    embedded,
    async (sql) => sql<DatabaseFacts[]>`
      select datname as name, pg_database_size(d.oid)::bigint as bytes,
             (select count(*)::integer from pg_stat_activity a where a.datname = d.datname) as connections,
             case
               when r.rolconnlimit = 0 then 'closed'
               when 'default_transaction_read_only=on' = any(r.rolconfig) then 'read-only'
               else 'open'
             end as bound
      from pg_database d
      join pg_roles r on r.rolname = d.datname
      where datname = any(${names}::text[])
    `,
  )
}

async function makeRole(
  sql: Sql,
  { name, password, isNew }: { name: string; password: string; isNew: boolean },
): Promise<void> {
  const rights = 'login nosuperuser nocreatedb nocreaterole noreplication nobypassrls'
  // Only a superuser may say again that a role is none; a new one is none by itself.
  const again = `login connection limit ${roleConnections} password '${verifierOf(password)}'`
  if (isNew)
    await sql.unsafe(
      `create role ${plain(name)} ${rights} connection limit ${roleConnections} password '${verifierOf(password)}'`,
    )
  else await sql.unsafe(`alter role ${plain(name)} ${again}`)
  await sql.unsafe(`alter role ${plain(name)} set statement_timeout = '${statementTimeout}'`)
  await sql.unsafe(`alter role ${plain(name)} set idle_in_transaction_session_timeout = '${idleInTransaction}'`)
  await sql.unsafe(`alter role ${plain(name)} set lock_timeout = '${lockTimeout}'`)
}

// The platform's own database, where it is the role's to close. What else is on a server of somebody's is that somebody's.
async function closeOwn(sql: Sql): Promise<void> {
  const [own] = await sql<{ name: string }[]>`
    select quote_ident(datname) as name
    from pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) as acl
    where datname = current_database()
      and pg_has_role(datdba, 'USAGE')
      and acl.grantee = 0
      and acl.privilege_type = 'CONNECT'
  `
  if (own) await sql.unsafe(`revoke connect, temporary on database ${own.name} from public`)
}

async function exists(sql: Sql, what: 'role' | 'database', name: string): Promise<boolean> {
  const found =
    what === 'role'
      ? await sql`select 1 from pg_roles where rolname = ${name}`
      : await sql`select 1 from pg_database where datname = ${name}`
  return found.length > 0
}

function serverUrl(
  { databaseUrl, appsDatabaseUrl, embedded: servers }: ServerConfig,
  embedded: boolean,
): string | null {
  if (!embedded) return appsDatabaseUrl ?? servers?.elderUrl ?? databaseUrl
  if (servers) return servers.appsUrl
  throw new AppError(
    'PROVISION_FAILED',
    "the database is on the server that atelier up brings for apps, and is not to be had where ATELIER_DATABASE_URL names the platform's",
  )
}

async function onServer<Result>(
  config: ServerConfig,
  embedded: boolean,
  task: (sql: Sql) => Promise<Result>,
): Promise<Result> {
  const sql = connect(serverUrl(config, embedded), { max: 1, name: 'atelier-databases', answerWithinMs: 125_000 })
  try {
    // To drop a database waits for every session of the server, and one that is just signing in is not to be hurried.
    await sql`set statement_timeout = '2min'`
    return await task(sql)
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown
    const what = isUnreachable(thrown)
      ? 'the database server cannot be reached'
      : codeOf(thrown) === '53300'
        ? 'the database server has no connection left'
        : 'the database server refused'
    throw new AppError(
      'PROVISION_FAILED',
      `no database for the app: ${what} (${messageOf(thrown)}); try again: atelier redeploy`,
      { cause: thrown },
    )
  } finally {
    await sql.end({ timeout: 1 })
  }
}

function mayNot(role: string): string {
  return (
    `no database for the app: ${role} may not make databases and roles on the server; whoever runs it says: alter role ${role} createdb createrole, ` +
    'or names another in ATELIER_APPS_DATABASE_URL'
  )
}

// Statements that define things take no parameters.
function plain(name: string): string {
  if (!/^app_[a-z0-9]{12}$/.test(name))
    throw new AppError('INTERNAL', `${JSON.stringify(name)} is no name of a database`)
  return name
}

/** What the server keeps of a password (RFC 5803); so the password itself is in no statement, and in no log of the server. */
function verifierOf(password: string): string {
  const salt = randomBytes(16)
  const iterations = 4096
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const keyOf = (what: string) => createHmac('sha256', salted).update(what).digest()
  const stored = createHash('sha256').update(keyOf('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${keyOf('Server Key').toString('base64')}`
}
