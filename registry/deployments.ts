import { type AppLock, type Door, passLocks } from './app-locks.ts'
import type { Environment, Target } from './branches.ts'
import { appendBuildLog } from './build-logs.ts'
import { type EnvSnapshot, snapshotEnv } from './env-vars.ts'
import { AppError, type ErrorCode } from './errors.ts'
import type { KeptOrigin } from './git-origins.ts'
import { holdBuild, holdSource } from './holds.ts'
import { newId } from './ids.ts'
import { microsOf, momentAt, type PlaceInTime } from './place-in-time.ts'
import { makeRoom } from './preview-removal.ts'
import { digestInputs, findReusableBuild } from './reusable-builds.ts'
import { ensureRoute } from './routes.ts'
import type { Db, Sql } from './sql.ts'
import { parseVersion, shortVersion } from './version.ts'

export type DeploymentState =
  | 'queued'
  | 'building'
  | 'built'
  | 'uploading'
  | 'canary'
  | 'live'
  | 'superseded'
  | 'rolled_back'
  | 'failed'
  | 'cancelled'
  | 'removed'

/** States in which the attempt is still on its way; in every other state a follower may stop. */
export const openStates: DeploymentState[] = ['queued', 'building', 'built', 'uploading', 'canary']
export const runningStates: DeploymentState[] = ['building', 'built', 'uploading']

export type Deployment = {
  id: string
  appId: string
  routeId: string | null
  number: number
  version: string
  environment: Environment
  branch: string
  label: string
  source: 'git' | 'upload' | 'redeploy'
  ref: string | null
  gitSha: string | null
  oldSha: string | null
  subject: string | null
  /** What a push brings to what was live when it came out, the newest first; null: not known. */
  commits: Commit[] | null
  sourceKey: string | null
  /** Where a worker fetches its source from, or has. */
  gitOrigin: KeptOrigin | null
  /** git's name for the files; null: not known. */
  sourceTree: string | null
  inputSha256: string
  /** The same but for the version; null: not known. */
  treeSha256: string | null
  buildId: string | null
  envSnapshot: EnvSnapshot
  options: DeploymentOptions
  /** The name of the database it was given. */
  database: string | null
  /** The app's own migrations that it applied, by name. */
  migrations: string[]
  state: DeploymentState
  stateReason: string | null
  stateBy: string
  stateSince: Date
  errorCode: ErrorCode | null
  attempt: number
  workerId: string | null
  preparedAt: Date | null
  refMovedAt: Date | null
  /** When it went live for the first time; a rollback to it leaves this as it is. */
  liveAt: Date | null
  /** When it first took traffic, be it 5 % of it. */
  trafficAt: Date | null
  createdAt: Date
  createdBy: string
}

export type Commit = { sha: string; subject: string }

/**
 * `clearCaches`: what earlier builds of the app have kept is thrown away. `fork`: somebody else's commit that was approved; it gets nothing of what the
 * app keeps secret, be it deployed again.
 */
export type DeploymentOptions = { canary?: 'skip'; forceBuild?: boolean; clearCaches?: boolean; fork?: boolean }

export type NewDeployment = {
  app: string
  target: Target
  version: string
  source: 'git' | 'upload' | 'redeploy'
  by: string
  sourceKey?: string | null
  sourceTree?: string | null
  /** In place of a source: a worker fetches it first. */
  gitOrigin?: KeptOrigin | null
  /** Set for a redeploy: the build to put before users again, with the environment as it is now. */
  buildId?: string | null
  /** `ref` null: of a repository elsewhere; there is nothing of ours to move. */
  git?: { ref: string | null; sha: string; oldSha: string | null; subject: string } | null
  options?: DeploymentOptions
  /** Default: by hand. */
  door?: Door
}

export type DeploymentEvent = {
  at: Date
  fromState: DeploymentState | null
  toState: DeploymentState
  by: string
  reason: string | null
  durationMs: number | null
}

/**
 * Inserts a queued deployment with the app's variables as they are now, and cancels the queued ones of the same route: the newest push wins.
 * Where the route is a preview of another standing (a fork's, or not) that ends, and this one gets a new one.
 * A build made before for this branch from the same source and the same build-time variables is taken again unless `options.forceBuild`.
 * The caller wakes the queue afterwards. Throws VERSION_PRUNED when `buildId` is no longer kept, APP_LOCKED and APP_HELD when the app's production is (app-locks.ts), and the reason of `signal` when
 * that was aborted in the meantime; nothing is inserted then.
 */
export async function createDeployment(
  sql: Sql,
  wanted: NewDeployment,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Deployment> {
  const id = newId()
  return sql.begin(async (tx) => {
    const [app] = await tx<{ number: number; clearCaches: boolean }[]>`
      update apps a
      set last_number = last_number + 1,
          clear_caches = before.clear_caches and ${wanted.buildId != null}
      from (
        select id, clear_caches
        from apps
        where id = ${wanted.app}
        for no key update
      ) before
      where a.id = before.id
      returning a.last_number as number, before.clear_caches and ${wanted.buildId == null} as clear_caches
    `
    if (!app) throw new AppError('APP_NOT_FOUND', `there is no app ${wanted.app}; see: atelier apps`)

    const lifted = await passIn(tx, wanted)
    const fork = wanted.options?.fork ?? false
    if (fork && wanted.target.environment === 'production')
      throw new AppError(
        'FORK_UNTRUSTED',
        `${shortVersion(wanted.version)} is a fork's: merge it, and deploy what that makes`,
      )
    await makeRoom(tx, { app: wanted.app, branch: wanted.target.branch, isFork: fork, by: wanted.by })
    const routeId = await ensureRoute(tx, wanted.app, wanted.target, { isFork: fork })
    await tx`
      update deployments
      set state = 'cancelled',
          state_by = ${wanted.by},
          state_reason = ${`superseded by the newer ${shortVersion(wanted.version)} (v${app.number})`}
      where route_id = ${routeId}
        and state = 'queued'
    `
    const envSnapshot = fork ? {} : await snapshotEnv(tx, { app: wanted.app, ...wanted.target })
    const sourceTree = wanted.sourceTree ?? null
    const inputs = { ...wanted, sourceTree, env: envSnapshot, fork }
    const digests = digestInputs(inputs, { reads: 'build' })
    const options = { ...wanted.options, ...(app.clearCaches && { forceBuild: true, clearCaches: true }) }
    const mayReuse = wanted.source !== 'redeploy' && !options.forceBuild
    const reusable = mayReuse
      ? await findReusableBuild(tx, wanted, [digests, digestInputs(inputs, { reads: 'run' })])
      : null
    const buildId = wanted.buildId ?? reusable?.id ?? null
    if (wanted.buildId && !(await holdBuild(tx, wanted.buildId))) throw goneMeanwhile(wanted)
    if (wanted.sourceKey) await holdSource(tx, wanted.sourceKey)
    const [deployment] = await tx<Deployment[]>`
      insert into deployments (
        id, app_id, route_id, number, version, environment, branch, label, source, ref, git_sha, old_sha, subject,
        source_key, git_origin, source_tree, input_sha256, tree_sha256, build_id, env_snapshot, options, state_by, created_by
      )
      values (
        ${id}, ${wanted.app}, ${routeId}, ${app.number}, ${wanted.version}, ${wanted.target.environment}, ${wanted.target.branch},
        ${wanted.target.label}, ${wanted.source}, ${wanted.git?.ref ?? null}, ${wanted.git?.sha ?? null}, ${wanted.git?.oldSha ?? null},
        ${wanted.git?.subject ?? null}, ${wanted.sourceKey ?? null}, ${wanted.gitOrigin ? tx.json(wanted.gitOrigin) : null}, ${sourceTree}, ${digests.inputSha256},
        ${digests.treeSha256}, ${buildId}, ${tx.json(envSnapshot)}, ${tx.json(options)}, ${wanted.by}, ${wanted.by}
      )
      returning *
    `
    if (!deployment) throw new AppError('INTERNAL', `inserting the deployment of ${wanted.app} returned no row`)
    await tx`insert into build_logs (deployment_id) values (${id})`
    await appendBuildLog(tx, id, lifted.map(liftedLine))
    signal?.throwIfAborted()
    return deployment
  })
}

function goneMeanwhile({ app, version }: NewDeployment): AppError {
  return new AppError(
    'VERSION_PRUNED',
    `${app} no longer keeps ${shortVersion(version)}; kept ones: atelier deploys --app ${app}; or push that commit again`,
  )
}

export async function findDeployment(sql: Db, id: string): Promise<Deployment | null> {
  const [deployment] = await sql<Deployment[]>`select * from deployments where id = ${id}`
  return deployment ?? null
}

/** The newest first. `branch` limits to one route's. */
export async function listDeployments(
  sql: Db,
  { app = null, only = null, limit = 20 }: { app?: string | null; only?: string[] | null; limit?: number },
): Promise<Deployment[]> {
  return sql<Deployment[]>`
    select *
    from deployments
    where (${app}::text is null or app_id = ${app})
      and (${only}::text[] is null or app_id = any(${only}))
    order by created_at desc, number desc
    limit ${limit}
  `
}

/** The newest first, from the one after `after` on. `app`, `only`: those of one app, or of some. */
export async function pageDeployments(
  sql: Db,
  { app, only, after, limit }: { app: string | null; only: string[] | null; after: PlaceInTime | null; limit: number },
): Promise<(Deployment & { micros: string })[]> {
  const [micros, id] = after ?? []
  return sql<(Deployment & { micros: string })[]>`
    select *, ${microsOf(sql, 'created_at')} as micros
    from deployments
    where true
      ${app === null ? sql`` : sql`and app_id = ${app}`}
      ${only === null ? sql`` : sql`and app_id = any(${only})`}
      ${after === null ? sql`` : sql`and (created_at, id) < (${momentAt(sql, micros ?? '')}, ${id ?? ''})`}
    order by created_at desc, id desc
    limit ${limit}
  `
}

export async function listEvents(sql: Db, deploymentId: string): Promise<DeploymentEvent[]> {
  return sql<DeploymentEvent[]>`
    select at, from_state, to_state, by, reason, duration_ms
    from deployment_events
    where deployment_id = ${deploymentId}
    order by id
  `
}

export type Move = {
  from: DeploymentState
  to: DeploymentState
  by: string
  reason?: string | null
  errorCode?: ErrorCode | null
  /** When given, the move happens only for the worker that still holds this attempt. */
  attempt?: number
}

/** Compare-and-set. Null means another process moved it first; the caller re-reads and decides again. */
export async function moveDeployment(
  sql: Db,
  id: string,
  { from, to, by, reason = null, errorCode = null, attempt }: Move,
): Promise<Deployment | null> {
  const [moved] = await sql<Deployment[]>`
    update deployments
    set state = ${to},
        state_by = ${by},
        state_reason = ${reason},
        error_code = ${errorCode}
    where id = ${id}
      and state = ${from}
      and (${attempt ?? null}::integer is null or attempt = ${attempt ?? null})
    returning *
  `
  return moved ?? null
}

/** Ends an open deployment by hand. Throws DEPLOYMENT_NOT_FOUND, DEPLOYMENT_STATE. Its worker sees it within a second and ends the process tree. */
export async function cancelDeployment(
  sql: Db,
  id: string,
  { by, reason }: { by: string; reason: string },
): Promise<Deployment> {
  const [cancelled] = await sql<Deployment[]>`
    update deployments
    set state = 'cancelled',
        state_by = ${by},
        state_reason = ${reason}
    where id = ${id}
      and state in ('queued', 'building', 'built', 'uploading')
      and ref_moved_at is null
    returning *
  `
  if (cancelled) return cancelled

  const present = await findDeployment(sql, id)
  if (!present) throw new AppError('DEPLOYMENT_NOT_FOUND', `there is no deployment ${id}; see: atelier deploys`)
  throw new AppError(
    'DEPLOYMENT_STATE',
    `deployment ${id} is ${present.state} and cannot be cancelled; to go back use: atelier ${present.state === 'canary' ? 'abort' : 'rollback'}`,
  )
}

/** The queued deployment of a route that may be built now, if nothing of that route is running. */
export async function nextQueued(sql: Db, routeId: string): Promise<Deployment | null> {
  const [next] = await sql<Deployment[]>`
    select *
    from deployments
    where route_id = ${routeId}
      and state = 'queued'
    order by number desc
    limit 1
  `
  return next ?? null
}

/** The newest deployment of a route that is still on its way, queued or running. */
export async function findOpenOfRoute(sql: Db, routeId: string | null): Promise<Deployment | null> {
  const [open] = await sql<Deployment[]>`
    select *
    from deployments
    where route_id = ${routeId}
      and state = any(${openStates})
    order by number desc
    limit 1
  `
  return open ?? null
}

/** How many deployments were queued before this one and still are: its place in the queue, 0 = next. */
export async function queuePosition(sql: Db, id: string): Promise<number> {
  const [row] = await sql<{ ahead: number }[]>`
    select count(*)::integer as ahead
    from deployments ahead, deployments mine
    where mine.id = ${id}
      and ahead.state = 'queued'
      and ahead.created_at < mine.created_at
  `
  return row?.ahead ?? 0
}

/** The deployments that carry a version name in an app, newest first. */
export async function findByVersion(
  sql: Db,
  app: string,
  text: string,
  environment: Environment = 'production',
): Promise<Deployment[]> {
  const name = parseVersion(text)
  const number = name.kind === 'number' ? name.number : null
  const prefix = name.kind === 'number' ? '' : name.text
  return sql<Deployment[]>`
    select *
    from deployments
    where app_id = ${app}
      and environment = ${environment}
      and (number = ${number} or (${number}::integer is null and (version = ${prefix} or (${name.kind === 'sha'} and starts_with(version, ${prefix})))))
    order by number desc
  `
}

// Previews are nobody's production.
async function passIn(tx: Db, { app, target, by, door = 'by hand' }: NewDeployment): Promise<AppLock[]> {
  return target.environment === 'production' ? passLocks(tx, { app, by, door }) : []
}

function liftedLine({ kind, by, message }: AppLock): string {
  const what = kind === 'lock' ? `the lock by ${by} (${message}) is lifted` : 'automatic deployments go on'
  return `-----> Unlocked    ${what}`
}
