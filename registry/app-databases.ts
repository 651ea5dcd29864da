import { randomBytes } from 'node:crypto'
import type { Environment } from './branches.ts'
import type { Deployment } from './deployments.ts'
import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Db } from './sql.ts'

/** A database that an app was given. `name` is the database's and its role's on the server. */
export type AppDatabase = {
  name: string
  appId: string
  environment: Environment
  branch: string
  routeId: string | null
  /** Sealed; `openDatabasePassword` opens it. */
  password: Buffer
  /** On the server that `atelier up` brings for apps alone. */
  embedded: boolean
  createdAt: Date
  /** Null: it was not finished yet. */
  madeAt: Date | null
}

/** What routes and preparations say of a deployment's database; the password is sealed, in base64. */
export type RoutedDatabase = { name: string; password: string; embedded: boolean }

/** The database of a deployment's route: the one there is, or a new row for one that is to be made. */
export async function claimAppDatabase(
  sql: Db,
  { appId, environment, branch, routeId }: Pick<Deployment, 'appId' | 'environment' | 'branch' | 'routeId'>,
  { key, embedded }: { key: Key; embedded: boolean },
): Promise<AppDatabase> {
  const name = `app_${newId()}`
  await sql`
    insert into app_databases (name, app_id, environment, branch, route_id, password, embedded)
    select ${name}, ${appId}, ${environment}, ${branch}, id, ${seal(key, contextOf(name), newPassword())}, ${embedded}
    from routes
    where id = ${routeId}
    for key share
    on conflict (route_id) do nothing
  `
  const database = routeId === null ? null : await findDatabaseOfRoute(sql, routeId)
  if (!database)
    throw new AppError(
      'DEPLOYMENT_STATE',
      `${environment === 'production' ? 'the app' : `the preview of ${branch}`} was removed while it was built`,
    )
  return database
}

export async function findDatabaseOfRoute(sql: Db, routeId: string): Promise<AppDatabase | null> {
  const [database] = await sql<AppDatabase[]>`select * from app_databases where route_id = ${routeId}`
  return database ?? null
}

/** It is there, and the deployment runs with it. False: its app or preview was removed meanwhile. */
export async function attachDatabase(sql: Db, { name }: AppDatabase, deploymentId: string): Promise<boolean> {
  await sql`
    update app_databases
    set made_at = coalesce(made_at, now())
    where name = ${name}
  `
  await sql`
    update deployments
    set database = name
    from app_databases
    where id = ${deploymentId}
      and name = ${name}
  `
  return isWanted(sql, { name })
}

/** False: its app or preview was removed. */
export async function isWanted(sql: Db, { name }: Pick<AppDatabase, 'name'>): Promise<boolean> {
  return (await sql`select 1 from app_databases where name = ${name} and route_id is not null`).length > 0
}

/**
 * Of an app: production first, then previews by branch, those after that one. Those whose route is gone are not among them. `limit` null: without
 * end.
 */
export async function listAppDatabases(
  sql: Db,
  app: string,
  { after = null, limit = null }: { after?: [Environment, string] | null; limit?: number | null } = {},
): Promise<AppDatabase[]> {
  const [environment, branch] = after ?? []
  return sql<AppDatabase[]>`
    select *
    from app_databases
    where app_id = ${app}
      and route_id is not null
      ${after === null ? sql`` : sql`and (environment = 'preview', branch) > (${environment === 'preview'}, ${branch ?? ''})`}
    order by environment = 'preview', branch
    limit ${limit}
  `
}

/** Those to drop: their preview was removed, or their app was. */
export async function findLeftDatabases(sql: Db): Promise<Pick<AppDatabase, 'name' | 'embedded'>[]> {
  return sql<Pick<AppDatabase, 'name' | 'embedded'>[]>`
    select name, embedded
    from app_databases
    where route_id is null
    order by created_at
  `
}

/** One that is there, with the deployment that is live with it. */
export type MadeDatabase = Pick<AppDatabase, 'name' | 'embedded' | 'appId'> & {
  deploymentId: string | null
  version: string | null
}

export async function listMadeDatabases(sql: Db): Promise<MadeDatabase[]> {
  return sql<MadeDatabase[]>`
    select a.name, a.embedded, a.app_id, d.id as deployment_id, d.version
    from app_databases a
    join routes r on r.id = a.route_id
    left join deployments d on d.id = r.live_deployment
    where a.made_at is not null
  `
}

/** Whether the server that `atelier up` brings for apps has anything on it. */
export async function hasEmbeddedDatabases(sql: Db): Promise<boolean> {
  return (await sql`select 1 from app_databases where embedded limit 1`).length > 0
}

/**
 * It was dropped. False: whoever was making it when its preview went may not have noticed yet, so it is dropped again, for as long as a build may take.
 */
export async function forgetDatabase(sql: Db, name: string): Promise<boolean> {
  const forgotten = await sql`
    delete from app_databases
    where name = ${name}
      and route_id is null
      and (made_at is not null or created_at < now() - interval '2 hours')
    returning name
  `
  return forgotten.length > 0
}

/** Throws INTERNAL when the platform's key is another one. */
export function openDatabasePassword({ name, password }: Pick<RoutedDatabase, 'name' | 'password'>, key: Key): string {
  return open(key, contextOf(name), Buffer.from(password, 'base64'))
}

function contextOf(name: string): string {
  return `database:${name}`
}

// Letters, digits, - and _ only: it stands in URLs that people's tools take apart in their own ways.
function newPassword(): string {
  return randomBytes(24).toString('base64url')
}
