import { attachDatabase, claimAppDatabase, listAppDatabases, openDatabasePassword } from '../registry/app-databases.ts'
import type { StepLog } from '../registry/build-logs.ts'
import type { Config } from '../registry/config.ts'
import { databaseServerOf, dropAppDatabase, makeAppDatabase } from '../registry/database-server.ts'
import type { Deployment } from '../registry/deployments.ts'
import { AppError } from '../registry/errors.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import { leaseUser } from '../sandbox/users.ts'
import { copyDatabase } from './copy-database.ts'

export type AppDatabaseDeps = {
  sql: Sql
  config: Config
  key: Key
  log: StepLog
  /** Keeps values out of the build log from now on. */
  hide: (secrets: Record<string, string>) => void
}

export type ProvideDeps = AppDatabaseDeps & { appNetworks: Promise<AppNetworks>; signal: AbortSignal }

/**
 * The database of a deployment whose app wants one: of its route, made when it is the first to want it. A DATABASE_URL that was set goes before it; then, and
 * where none is wanted, null. Throws PROVISION_FAILED.
 */
export async function provideDatabase(
  deployment: Deployment,
  { wanted, deps }: { wanted: boolean | 'template'; deps: ProvideDeps },
): Promise<DatabaseAccess | null> {
  const { sql, config, key, log, hide } = deps
  if (!wanted) return null
  if ('DATABASE_URL' in deployment.envSnapshot) {
    log.line('-----> Database    DATABASE_URL is set and goes before database.provision')
    return null
  }
  const database = await claimAppDatabase(sql, deployment, key)
  const access = accessTo({ name: database.name, password: database.password.toString('base64') }, { config, key })
  hide({ DATABASE_URL: access.password })
  const isNew = database.madeAt === null
  const detail = `${isNew ? 'a new one for' : 'that of'} ${placeOf(deployment)}`
  return log.step('Database', detail, async (step) => {
    const { serverMajor } = await makeAppDatabase(config, access)
    if (isNew && wanted === 'template' && (await copyProduction(deployment, access, { serverMajor, deps })))
      step.detail(`${detail}, with what is in production's`)
    if (await attachDatabase(sql, database, deployment.id)) return access
    await dropAppDatabase(config, access.name)
    throw new AppError('DEPLOYMENT_STATE', `${placeOf(deployment)} was removed while it was built`)
  })
}

// False: production has none, and there is nothing to copy.
async function copyProduction(
  deployment: Deployment,
  to: DatabaseAccess,
  { serverMajor, deps }: { serverMajor: number; deps: ProvideDeps },
): Promise<boolean> {
  const { sql, config, key, appNetworks, signal } = deps
  if (deployment.environment === 'production') return false
  const [production] = (await listAppDatabases(sql, deployment.appId)).filter(
    ({ environment, madeAt }) => environment === 'production' && madeAt !== null,
  )
  if (!production) return false
  const from = accessTo({ name: production.name, password: production.password.toString('base64') }, { config, key })
  const user = await leaseUser(config, { purpose: 'build', app: deployment.appId })
  await copyDatabase({ from, to, serverMajor }, { appNetworks, user, limits: config.buildLimits, signal })
  return true
}

/** The database a deployment was given before; null: none, or it is dropped by now. */
export async function databaseOf(
  deployment: Deployment,
  { sql, config, key, hide }: Omit<AppDatabaseDeps, 'log'>,
): Promise<DatabaseAccess | null> {
  if (deployment.database === null) return null
  const found = (await listAppDatabases(sql, deployment.appId)).find(({ name }) => name === deployment.database)
  if (!found) return null
  const access = accessTo({ name: found.name, password: found.password.toString('base64') }, { config, key })
  hide({ DATABASE_URL: access.password })
  return access
}

function accessTo(
  database: { name: string; password: string },
  { config, key }: Pick<AppDatabaseDeps, 'config' | 'key'>,
): DatabaseAccess {
  return { server: databaseServerOf(config), name: database.name, password: openDatabasePassword(database, key) }
}

function placeOf({ environment, branch }: Deployment): string {
  return environment === 'production' ? 'production' : `the preview of ${branch}`
}
