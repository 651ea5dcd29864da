import { setTimeout as pause } from 'node:timers/promises'
import { agreeOnKey, agreeOnRepositories, agreeOnStore } from '../../registry/agreement.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import { type Config, readConfig } from '../../registry/config.ts'
import { AppError, messageOf, toAppError } from '../../registry/errors.ts'
import { createLog, type Log } from '../../registry/log.ts'
import { migrate } from '../../registry/migrate.ts'
import { findKey } from '../../registry/secrets.ts'
import { connect, isUnreachable, type Sql } from '../../registry/sql.ts'
import { Failure } from '../failure.ts'
import { provideFirstAccess } from './access.ts'
import { addressesOf, writeAddresses } from './addresses.ts'
import { type Home, prepareHome } from './home.ts'
import { lockRole } from './home-lock.ts'
import type { RoleName } from './role.ts'

const retryMs = 1000

/**
 * What `atelier up` does for its roles, for one that is started by itself: the home and its lock, the database's schema, and that this part
 * has the same key, store and repositories as the others. Waits for a database that is away; a proxy does not, for it serves what it knows.
 * Throws a Failure, one sentence, when the role cannot be started.
 */
export async function prepareRole(role: RoleName): Promise<void> {
  try {
    const config = readConfig(process.env)
    if (config.databaseUrl === null)
      throw new AppError(
        'CONFIG_ENV',
        `atelier serve ${role} needs a Postgres that every part reaches: set ATELIER_DATABASE_URL (atelier up brings one of its own)`,
      )
    const home = await prepareHome(config)
    await lockRole(home.path, role)
    const log = createLog(role)
    const settling = settle(role, { config, home, log })
    // Without a key a proxy could open nothing that it serves, and what it made up would not be the platform's.
    if (role !== 'proxy' || (await findKey(config)) === null) await settling
    else
      settling.catch((thrown: unknown) =>
        log.error({ reason: messageOf(thrown) }, 'this proxy is not set up as the other parts are'),
      )
  } catch (thrown) {
    const { code, message, fault } = toAppError(thrown)
    throw new Failure(message, { code, exitCode: fault === 'user' || code === 'CONFIG_ENV' ? 1 : 3 })
  }
}

type Setting = { config: Config; home: Home; log: Log }

async function settle(role: RoleName, setting: Setting): Promise<void> {
  const { config, log } = setting
  const sql = connect(config.databaseUrl, { max: 2, name: `atelier-${role}-start`, answerWithinMs: null })
  try {
    for (let isSaid = false; ; isSaid = true) {
      try {
        return await settleOnce(role, sql, setting)
      } catch (thrown) {
        if (!isUnreachable(thrown)) throw thrown
        if (!isSaid) log.warn({ reason: messageOf(thrown) }, 'the database cannot be reached, waiting for it')
        await pause(retryMs)
      }
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function settleOnce(role: RoleName, sql: Sql, { config, home, log }: Setting): Promise<void> {
  for (const name of await migrate(sql)) log.info({ migration: name }, 'database migrated')
  if (role !== 'gateway') await agreeOnKey(sql, config)
  if (role === 'gateway') await agreeOnRepositories(sql, config.home)
  await compareStore(role, sql, { config, log })
  if (role !== 'registry') return
  const { isNew } = await provideFirstAccess(sql, home.adminTokenFile)
  if (isNew) log.info({ file: home.adminTokenFile }, 'admin token written')
  await writeAddresses(home.addressFile, addressesOf(config, process.pid))
}

// A store that is away for now is no reason not to start.
async function compareStore(role: RoleName, sql: Sql, { config, log }: Pick<Setting, 'config' | 'log'>): Promise<void> {
  try {
    await agreeOnStore(sql, await openStore(config), config.storeUrl)
  } catch (thrown) {
    if (!(thrown instanceof AppError && thrown.code === 'STORE_UNAVAILABLE')) throw thrown
    log.warn(
      { reason: thrown.message },
      `the bundle store does not answer; the ${role} goes on without having compared it`,
    )
  }
}
