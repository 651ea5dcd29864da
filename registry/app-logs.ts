import { cleanLine } from './build-logs.ts'
import { channels } from './routes.ts'
import type { Db, Sql } from './sql.ts'
import { Wakeup } from './wakeup.ts'

export type AppLogStream = 'stdout' | 'stderr' | 'platform'
export type NewAppLogLine = {
  appId: string
  deploymentId: string
  version: string
  at: Date
  stream: AppLogStream
  text: string
}
export type AppLogLine = NewAppLogLine & { id: number }

const keptLines = 10_000

/** Appends what running apps wrote, in one statement; lines of apps that are gone are dropped. */
export async function appendAppLog(sql: Db, lines: NewAppLogLine[]): Promise<void> {
  if (lines.length === 0) return
  const apps = lines.map(({ appId }) => appId)
  await sql`
    insert into app_log_lines (app_id, deployment_id, version, at, stream, text)
    select given.app_id, given.deployment_id, given.version, given.at, given.stream, given.text
    from unnest(
      ${apps}::text[], ${lines.map(({ deploymentId }) => deploymentId)}::text[], ${lines.map(({ version }) => version)}::text[],
      ${lines.map(({ at }) => at.toISOString())}::timestamptz[], ${lines.map(({ stream }) => stream)}::text[],
      ${lines.map(({ text }) => cleanLine(text))}::text[]
    ) with ordinality as given (app_id, deployment_id, version, at, stream, text, position)
    join apps on apps.id = given.app_id
    order by given.position
  `
  for (const app of new Set(apps)) await sql`select pg_notify(${channels.appLogs}, ${app})`
}

/** The newest `limit` lines after `after` (an id), oldest first. */
export async function readAppLog(
  sql: Db,
  app: string,
  { after = 0, limit = 200 }: { after?: number; limit?: number } = {},
): Promise<AppLogLine[]> {
  const newestFirst = await sql<AppLogLine[]>`
    select id, app_id, deployment_id, version, at, stream, text
    from app_log_lines
    where app_id = ${app}
      and id > ${after}
    order by id desc
    limit ${limit}
  `
  return newestFirst.reverse()
}

/** Batches of lines as they come, without end; stops on abort. */
export async function* followAppLog(
  sql: Sql,
  app: string,
  { tail = 100, signal }: { tail?: number; signal?: AbortSignal } = {},
): AsyncGenerator<AppLogLine[]> {
  await using wakeup = await Wakeup.on(sql, [channels.appLogs], (payload) => payload === app)
  let lines = await readAppLog(sql, app, { limit: tail })
  let seen = 0
  while (!signal?.aborted) {
    seen = lines.at(-1)?.id ?? seen
    if (lines.length > 0) yield lines
    else await wakeup.next({ timeoutMs: 5000, signal })
    lines = await readAppLog(sql, app, { after: seen, limit: 1000 })
  }
}

/** Keeps the newest lines of each app. */
export async function pruneAppLogs(sql: Db): Promise<void> {
  await sql`
    delete from app_log_lines l
    using (
      select a.id as app_id, (
        select id
        from app_log_lines
        where app_id = a.id
        order by id desc
        offset ${keptLines}
        limit 1
      ) as cut
      from apps a
    ) kept
    where l.app_id = kept.app_id
      and l.id <= kept.cut
  `
}
