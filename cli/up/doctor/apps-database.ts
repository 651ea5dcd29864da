import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { connect } from '../../../registry/sql.ts'
import { appsRole } from '../database.ts'
import { postgresUrl } from '../postgres.ts'
import { type Check, fail, ok, warn } from './check.ts'
import { isNearlyFull, readUse, useText, within, withoutPassword } from './database-use.ts'

const name = 'apps postgres'

/** The server of the apps' databases: the embedded one, or the one that ATELIER_APPS_DATABASE_URL names. Null: there is none of its own. */
export async function checkAppsDatabase(config: Config, { isUp }: { isUp: boolean }): Promise<Check | null> {
  const { appsDatabaseUrl, databaseUrl, home } = config
  if (appsDatabaseUrl !== null)
    return look(appsDatabaseUrl, 'is ATELIER_APPS_DATABASE_URL right, and may this machine reach it?')
  if (databaseUrl !== null) return null
  if (!existsSync(join(home, 'apps-postgres')))
    return ok(name, 'not there yet; it is made when the first app wants a database')
  if (!isUp) return ok(name, 'embedded; it starts with the platform')
  const log = 'look at $ATELIER_HOME/log/apps-postgres.log'
  const url = embeddedUrl(config)
  if (url === null) return warn(name, 'its passwords cannot be read', 'run this as the user who starts Atelier')
  // With no database left it lies still until somebody wants one again.
  if (!existsSync(join(config.runDir, 'apps-pg/.s.PGSQL.5432')))
    return warn(name, 'it does not run; that is as it should be while no app has a database', log)
  return look(url, log)
}

async function look(url: string, next: string): Promise<Check> {
  const sql = connect(url, { max: 1, name: 'atelier-doctor' })
  try {
    const use = await within(readUse(sql))
    const what = `version ${use.version}, ${useText(use)}`
    if (isNearlyFull(use)) return warn(name, what, 'see who has so many: atelier db <app>')
    return ok(name, what)
  } catch (thrown) {
    return fail(name, `it cannot be reached (${withoutPassword(messageOf(thrown), url)})`, next)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

function embeddedUrl({ home, runDir }: Config): string | null {
  try {
    const { apps }: { apps: string } = JSON.parse(readFileSync(join(home, 'secrets/postgres.json'), 'utf8'))
    return postgresUrl({ socketDir: join(runDir, 'apps-pg'), role: appsRole, password: apps, database: 'postgres' })
  } catch {
    return null // another user's
  }
}
