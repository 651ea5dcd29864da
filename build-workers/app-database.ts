import {
  type AppDatabase,
  attachDatabase,
  claimAppDatabase,
  isWanted,
  listAppDatabases,
  openDatabasePassword,
} from '../registry/app-databases.ts'
import type { StepLog } from '../registry/build-logs.ts'
import type { Config } from '../registry/config.ts'
import { databaseServerOf, dropAppDatabase, isNewEmbedded, makeAppDatabase } from '../registry/database-server.ts'
import type { Deployment } from '../registry/deployments.ts'
import { AppError } from '../registry/errors.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import { leaseUser } from '../sandbox/users.ts'
import { wakeAppsServer } from './apps-server.ts'
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
  const database = await claimAppDatabase(sql, deployment, { key, embedded: isNewEmbedded(config) })
  const access = accessTo(database, { config, key })
  hide({ DATABASE_URL: access.password })
  const isNew = database.madeAt === null
  const detail = `${isNew ? 'a new one for' : 'that of'} ${placeOf(deployment)}`
  return log.step('Database', detail, async (step) => {
    try {
      if (database.embedded) await wakeAppsServer(config, deps.signal)
      const { serverMajor } = await makeAppDatabase(config, { ...access, embedded: database.embedded })
      const mayCopy = isNew && wanted === 'template' && !deployment.options.fork
      if (mayCopy && (await copyProduction(deployment, access, { serverMajor, deps })))
        step.detail(`${detail}, with what is in production's`)
      if (await attachDatabase(sql, database, deployment.id)) return access
    } catch (thrown) {
      if (await isWanted(sql, database)) throw thrown
    }
    // What was made is nobody's, and may have been looked for too early by whoever drops what is left.
    await dropAppDatabase(config, database)
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
  const { home, buildLimits: limits } = config
  if (deployment.environment === 'production') return false
  const [production] = (await listAppDatabases(sql, deployment.appId)).filter(
    ({ environment, madeAt }) => environment === 'production' && madeAt !== null,
  )
  if (!production) return false
  const from = accessTo(production, { config, key })
  const user = await leaseUser(config, { purpose: 'build', app: deployment.appId })
  await copyDatabase({ from, to, serverMajor }, { home, appNetworks, user, limits, signal })
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
  const access = accessTo(found, { config, key })
  hide({ DATABASE_URL: access.password })
  return access
}

function accessTo(
  { name, password, embedded }: AppDatabase,
  { config, key }: Pick<AppDatabaseDeps, 'config' | 'key'>,
): DatabaseAccess {
  const sealed = password.toString('base64')
  return {
    server: databaseServerOf(config, { embedded }),
    name,
    password: openDatabasePassword({ name, password: sealed }, key),
  }
}

function placeOf({ environment, branch }: Deployment): string {
  return environment === 'production' ? 'production' : `the preview of ${branch}`
}
