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
  createdAt: Date
  /** Null: it was not finished yet. */
  madeAt: Date | null
}

/** What routes and preparations say of a deployment's database; the password is sealed, in base64. */
export type RoutedDatabase = { name: string; password: string }

/** The database of a deployment's route: the one there is, or a new row for one that is to be made. */
export async function claimAppDatabase(
  sql: Db,
  { appId, environment, branch, routeId }: Pick<Deployment, 'appId' | 'environment' | 'branch' | 'routeId'>,
  key: Key,
): Promise<AppDatabase> {
  const name = `app_${newId()}`
  await sql`
    insert into app_databases (name, app_id, environment, branch, route_id, password)
    values (${name}, ${appId}, ${environment}, ${branch}, ${routeId}, ${seal(key, contextOf(name), newPassword())})
    on conflict (route_id) do nothing
  `
  const database = routeId === null ? null : await findDatabaseOfRoute(sql, routeId)
  if (!database) throw new AppError('DEPLOYMENT_STATE', 'the preview was removed while it was built')
  return database
}

export async function findDatabaseOfRoute(sql: Db, routeId: string): Promise<AppDatabase | null> {
  const [database] = await sql<AppDatabase[]>`select * from app_databases where route_id = ${routeId}`
  return database ?? null
}

/** It is there: the deployment runs with it. False: its app or preview was removed meanwhile, and nobody will drop it but the caller. */
export async function attachDatabase(sql: Db, { name }: AppDatabase, deploymentId: string): Promise<boolean> {
  const made = await sql`
    update app_databases
    set made_at = coalesce(made_at, now())
    where name = ${name}
      and route_id is not null
    returning name
  `
  await sql`
    update deployments
    set database = name
    from app_databases
    where id = ${deploymentId}
      and name = ${name}
  `
  return made.length === 1
}

/** Of an app: production first, then previews by branch. Those whose route is gone are not among them. */
export async function listAppDatabases(sql: Db, app: string): Promise<AppDatabase[]> {
  return sql<AppDatabase[]>`
    select *
    from app_databases
    where app_id = ${app}
      and route_id is not null
    order by environment desc, branch
  `
}

/** Names of those to drop: their preview was removed, or their app was. */
export async function findLeftDatabases(sql: Db): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select name
    from app_databases
    where route_id is null
    order by created_at
  `
  return rows.map(({ name }) => name)
}

/** It was dropped. */
export async function forgetDatabase(sql: Db, name: string): Promise<void> {
  await sql`delete from app_databases where name = ${name} and route_id is null`
}

/** Throws INTERNAL when the platform's key is another one. */
export function openDatabasePassword({ name, password }: RoutedDatabase, key: Key): string {
  return open(key, contextOf(name), Buffer.from(password, 'base64'))
}

function contextOf(name: string): string {
  return `database:${name}`
}

// Letters, digits, - and _ only: it stands in URLs that people's tools take apart in their own ways.
function newPassword(): string {
  return randomBytes(24).toString('base64url')
}
