import type { Environment } from './branches.ts'
import type { EnvSnapshot } from './env-vars.ts'
import { AppError, type ErrorCode } from './errors.ts'
import { newId } from './ids.ts'
import { microsOf, momentAt, type PlaceInTime } from './place-in-time.ts'
import { channels } from './routes.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Db, Sql } from './sql.ts'

// Commands that somebody runs once behind the walls of an app. Whoever asks and whoever runs may be on machines of their own: they meet in the
// row, and what goes in and comes out lies in Postgres until the other has taken it.

export type AppRunState = 'waiting' | 'running' | 'ended'
export type RunCause = 'exit' | 'timeout' | 'memory' | 'disk' | 'output' | 'aborted' | 'stopped' | 'lost' | 'refused'
export type EndOrder = 'TERM' | 'KILL'

export type AppRun = {
  id: string
  appId: string
  deploymentId: string
  version: string
  by: string
  shown: string
  state: AppRunState
  endAsked: EndOrder | null
  exitCode: number | null
  signal: NodeJS.Signals | null
  cause: RunCause | null
  errorCode: ErrorCode | null
  reason: string | null
  createdAt: Date
  startedAt: Date | null
  endedAt: Date | null
}

export type NewRun = {
  app: string
  deploymentId: string
  command: string[]
  shown: string
  takesInput: boolean
  timeoutSec: number
  by: string
}

/** What an edge has taken to run. */
export type ClaimedRun = {
  id: string
  appId: string
  deploymentId: string
  command: string[]
  takesInput: boolean
  timeoutSec: number
}

export type RunEnd = {
  cause: RunCause
  exitCode?: number | null
  signal?: string | null
  errorCode?: ErrorCode | null
  reason?: string | null
}

/** Of one app, open at a time; of one machine as many run at once, and others wait. */
export const mostRunsOfApp = 5
const silentForSec = 20
const keptPerApp = 500

/** Orders a command. Throws RUNS_TOO_MANY. */
export async function createRun(sql: Sql, run: NewRun, { key }: { key: Key }): Promise<AppRun> {
  const id = newId()
  await sql.begin(async (tx) => {
    // One after the other, or two would both find the last place free.
    await tx`select id from apps where id = ${run.app} for no key update`
    const [{ open: count } = { open: 0 }] = await tx<{ open: number }[]>`
      select count(*)::integer as open
      from app_runs
      where app_id = ${run.app}
        and state <> 'ended'
        and asker_at > clock_timestamp() - make_interval(secs => ${silentForSec})
    `
    if (count >= mostRunsOfApp)
      throw new AppError(
        'RUNS_TOO_MANY',
        `${count} commands of ${run.app} run already; end one, or wait: atelier run --list --app ${run.app}`,
      )
    const sealed = seal(key, contextOf(id), JSON.stringify(run.command))
    await tx`
      insert into app_runs (id, app_id, deployment_id, by, shown, command, takes_input, timeout_sec)
      values (${id}, ${run.app}, ${run.deploymentId}, ${run.by}, ${run.shown}, ${sealed}, ${run.takesInput}, ${run.timeoutSec})
    `
    await tx`select pg_notify(${channels.appRuns}, ${`${id}:wanted`})`
  })
  const made = await findRun(sql, run.app, id)
  if (!made) throw new AppError('APP_NOT_FOUND', `${run.app} was removed`)
  return made
}

export async function findRun(sql: Db, app: string, id: string): Promise<AppRun | null> {
  const [run] = await sql<AppRun[]>`
    select ${columns(sql)}
    from app_runs r
    join deployments d on d.id = r.deployment_id
    where r.app_id = ${app}
      and r.id = ${id}
  `
  return run ?? null
}

/** Who ran what, the newest first, from the one after `after` on. */
export async function listRuns(
  sql: Db,
  app: string,
  { after, limit }: { after: PlaceInTime | null; limit: number },
): Promise<(AppRun & { micros: string })[]> {
  const [micros, id] = after ?? []
  return sql<(AppRun & { micros: string })[]>`
    select ${columns(sql)}, ${microsOf(sql, 'r.created_at')} as micros
    from app_runs r
    join deployments d on d.id = r.deployment_id
    where r.app_id = ${app}
      ${after === null ? sql`` : sql`and (r.created_at, r.id) < (${momentAt(sql, micros ?? '')}, ${id ?? ''})`}
    order by r.created_at desc, r.id desc
    limit ${limit}
  `
}

function columns(sql: Db) {
  return sql`
    r.id, r.app_id, r.deployment_id, d.version, r.by, r.shown, r.state, r.end_asked, r.exit_code, r.signal, r.cause, r.error_code, r.reason,
    r.created_at, r.started_at, r.ended_at
  `
}

export type RunTarget = { deploymentId: string; kind: string; envSnapshot: EnvSnapshot; environment: Environment }

/** What is live in production, or of a branch's preview; null: nothing is. */
export async function findRunTarget(sql: Db, app: string, branch: string | null): Promise<RunTarget | null> {
  const [target] = await sql<RunTarget[]>`
    select d.id as deployment_id, b.kind, d.env_snapshot, d.environment
    from routes r
    join deployments d on d.id = r.live_deployment
    join builds b on b.id = d.build_id
    where r.app_id = ${app}
      and case when ${branch}::text is null
            then r.environment = 'production'
            else r.environment = 'preview' and r.branch = ${branch}
          end
  `
  return target ?? null
}

/** The oldest that waits and whose asker is still there, for this edge; null: there is none. */
export async function claimRun(sql: Db, edgeId: string, { key }: { key: Key }): Promise<ClaimedRun | null> {
  const [claimed] = await sql<(Omit<ClaimedRun, 'command'> & { command: Buffer })[]>`
    update app_runs
    set state = 'running',
        edge_id = ${edgeId},
        runner_at = clock_timestamp(),
        started_at = clock_timestamp()
    where id = (
      select id
      from app_runs
      where state = 'waiting'
        and end_asked is null
        and asker_at > clock_timestamp() - make_interval(secs => ${silentForSec})
      order by created_at
      limit 1
      for update skip locked
    )
    returning id, app_id, deployment_id, command, takes_input, timeout_sec
  `
  if (!claimed) return null
  return { ...claimed, command: JSON.parse(open(key, contextOf(claimed.id), claimed.command)) }
}

/** Says that it runs still. What is to become of it: `gone` when it is not this edge's any more, or nobody waits for it. */
export async function keepRun(sql: Db, id: string, edgeId: string): Promise<{ order: EndOrder | null } | 'gone'> {
  const [kept] = await sql<{ order: EndOrder | null; isAlone: boolean }[]>`
    update app_runs
    set runner_at = clock_timestamp()
    where id = ${id}
      and edge_id = ${edgeId}
      and state = 'running'
    returning end_asked as order, asker_at < clock_timestamp() - make_interval(secs => ${silentForSec}) as is_alone
  `
  if (!kept || kept.isAlone) return 'gone'
  return { order: kept.order }
}

/** Says that somebody waits for it still. */
export async function keepAsking(sql: Db, id: string): Promise<void> {
  await sql`update app_runs set asker_at = clock_timestamp() where id = ${id} and state <> 'ended'`
}

/** Has it ended: TERM as Ctrl-C does, KILL at once. One that nobody has begun to run is over by that. */
export async function askToEnd(sql: Db, id: string, order: EndOrder): Promise<void> {
  await sql`
    update app_runs
    set end_asked = case when end_asked = 'KILL' then end_asked else ${order} end,
        state = case when state = 'waiting' then 'ended' else state end,
        cause = case when state = 'waiting' then 'stopped' else cause end,
        command = case when state = 'waiting' then null else command end,
        ended_at = case when state = 'waiting' then clock_timestamp() else ended_at end
    where id = ${id}
      and state <> 'ended'
  `
  await sql`select pg_notify(${channels.appRuns}, ${`${id}:end`})`
}

/** It has ended, and how; the first word about that counts. */
export async function endRun(sql: Db, id: string, end: RunEnd): Promise<void> {
  await sql`
    update app_runs
    set state = 'ended',
        ended_at = clock_timestamp(),
        command = null,
        exit_code = ${end.exitCode ?? null},
        signal = ${end.signal ?? null},
        cause = ${end.cause},
        error_code = ${end.errorCode ?? null},
        reason = ${end.reason?.slice(0, 1000) ?? null}
    where id = ${id}
      and state <> 'ended'
  `
  await sql`select pg_notify(${channels.appRuns}, ${`${id}:ended`})`
}

/** Ends what a former self of this edge ran. */
export async function endRunsOf(sql: Db, edgeId: string): Promise<void> {
  const left = await sql<{ id: string }[]>`select id from app_runs where edge_id = ${edgeId} and state = 'running'`
  for (const { id } of left) await endRun(sql, id, lost)
}

/** Ends it when the machine that runs it has not been heard of. True: it is over. */
export async function endIfLost(sql: Db, id: string): Promise<boolean> {
  const silent = await sql`
    select id
    from app_runs
    where id = ${id}
      and state = 'running'
      and runner_at < clock_timestamp() - make_interval(secs => ${silentForSec})
  `
  if (silent.length > 0) await endRun(sql, id, lost)
  return silent.length > 0
}

const lost: RunEnd = {
  cause: 'lost',
  errorCode: 'RUN_LOST',
  reason: 'the machine that ran it has stopped or is out of reach; what it had done by then stays done',
}

/** Keeps the newest of each app, and ends those that nobody minds any more. */
export async function pruneRuns(sql: Db): Promise<void> {
  const left = await sql<{ id: string }[]>`
    select id
    from app_runs
    where state <> 'ended'
      and asker_at < clock_timestamp() - interval '5 minutes'
      and coalesce(runner_at, asker_at) < clock_timestamp() - interval '5 minutes'
  `
  for (const { id } of left) await endRun(sql, id, lost)
  await sql`
    delete from app_runs r
    using (
      select id, row_number() over (partition by app_id order by created_at desc) as age
      from app_runs
    ) aged
    where r.id = aged.id
      and aged.age > ${keptPerApp}
      and r.state = 'ended'
  `
  await sql`
    delete from app_run_chunks c
    using app_runs r
    where r.id = c.run_id
      and r.ended_at < clock_timestamp() - interval '5 minutes'
  `
}

function contextOf(id: string): string {
  return `run:${id}`
}
