import { listMadeDatabases, type MadeDatabase } from './app-databases.ts'
import { appendAppLog } from './app-logs.ts'
import type { Config } from './config.ts'
import { boundAppDatabase, type DatabaseBound, readDatabaseFacts } from './database-server.ts'
import type { Log } from './log.ts'
import type { Sql } from './sql.ts'

export type LimitsDeps = {
  sql: Sql
  config: Pick<Config, 'databaseUrl' | 'appsDatabaseUrl' | 'embedded'> & { appLimits: { databaseMb: number } }
  log: Log
}

/** An app can write all the same, if it says so; from this many times the limit on nobody is let in. */
const closedFrom = 2

/**
 * Keeps databases of apps to their size: one that is larger is read-only, one of twice the size lets nobody in, and one that has shrunk is as before. Run every half a
 * minute; what has changed is said in the app's log. A database that cannot be looked at is left as it is.
 */
export async function boundDatabases({ sql, config, log }: LimitsDeps): Promise<void> {
  const { databaseMb } = config.appLimits
  const made = await listMadeDatabases(sql)
  for (const facts of await readDatabaseFacts(config, made)) {
    const database = made.find(({ name }) => name === facts.name)
    const bound = boundOf(facts.bytes / 1_048_576, databaseMb)
    if (!database || facts.bound === bound) continue
    await boundAppDatabase(config, database, bound)
    log.warn({ app: database.appId, database: database.name, bytes: facts.bytes, bound }, 'database of an app bounded')
    await tell(sql, database, sentences(databaseMb)[bound])
  }
}

function boundOf(sizeMb: number, limitMb: number): DatabaseBound {
  if (sizeMb <= limitMb) return 'open'
  return sizeMb < closedFrom * limitMb ? 'read-only' : 'closed'
}

function sentences(limitMb: number): Record<DatabaseBound, string> {
  const over = 'ATELIER_APP_DATABASE_MB on the server'
  return {
    open: 'the database takes writes again',
    'read-only': `the database holds more than ${limitMb} MB (${over}) and is read-only; drop, truncate or delete after: begin read write`,
    closed: `the database holds more than ${closedFrom * limitMb} MB (twice ${over}) and lets nobody in`,
  }
}

// Lines belong to a deployment: the live one. Before there is one, nobody has written much.
async function tell(sql: Sql, { appId, deploymentId, version }: MadeDatabase, text: string): Promise<void> {
  if (deploymentId === null || version === null) return
  await appendAppLog(sql, [{ appId, deploymentId, version, at: new Date(), stream: 'platform', text }])
}
