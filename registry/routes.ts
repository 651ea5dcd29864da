import type { RoutedDatabase } from './app-databases.ts'
import type { Environment, Target } from './branches.ts'
import type { EnvSnapshot } from './env-vars.ts'
import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import type { RoutedRollout } from './rollout.ts'
import { type Db, violatedConstraint } from './sql.ts'

/** What an edge needs to know to serve one deployment. */
export type RoutedDeployment = {
  id: string
  version: string
  number: number
  manifestKey: string
  manifestSha256: string
  envSnapshot: EnvSnapshot
  /** The database it was given. */
  database?: RoutedDatabase | null
  routeId?: string | null
}

/** One row per app and environment (preview: per branch). `weight` is the candidate's share in percent. */
export type Route = {
  id: string
  appId: string
  environment: Environment
  branch: string
  label: string
  generation: number
  weight: number
  live: RoutedDeployment | null
  candidate: RoutedDeployment | null
  /** Of a rollout at 100 %: the old deployment, kept ready to go back to. */
  warm: RoutedDeployment | null
  /** Of a preview whose visitors give a password: what it is compared with (preview-settings.ts). */
  gate?: string | null
  rollout: RoutedRollout | null
}

/**
 * NOTIFY channels. `routes` carries `<route id>:<generation>`, `prepare` and `edge_reports` a deployment id, `deployments`
 * `<id>:<state|prepared>`, `app_runs` `<id>:<what happened>`, `purges` a purge's id, `encodings` a build id, `hook_runs` a hook's run, `rollouts` a rollout's, `rollout_reports` the id of one that was reported on,
 * `webhooks` an event's id or a webhook's, `repo_heads` an app and a branch.
 */
export const channels = {
  routes: 'routes',
  prepare: 'prepare',
  edgeReports: 'edge_reports',
  deployments: 'deployments',
  buildLogs: 'build_logs',
  appLogs: 'app_logs',
  appRuns: 'app_runs',
  purges: 'purges',
  encodings: 'encodings',
  hookRuns: 'hook_runs',
  rollouts: 'rollouts',
  rolloutReports: 'rollout_reports',
  webhooks: 'webhooks',
  repoHeads: 'repo_heads',
} as const

/** The whole table as the edges compare it. */
export async function readRoutes(sql: Db): Promise<Route[]> {
  return (await readRoutesSeen(sql)).routes
}

/** The same, with the snapshot it was read in, for `reportRoutesSeen`; null when there are no routes. */
export async function readRoutesSeen(sql: Db): Promise<{ routes: Route[]; snapshot: string | null }> {
  const rows = await sql<(Route & { snapshot: string })[]>`
    select r.id, r.app_id, r.environment, r.branch, r.label, r.generation, r.weight,
           ${routed(sql, 'r.live_deployment')} as live,
           ${routed(sql, 'r.candidate_deployment')} as candidate,
           case when o.from_deployment <> r.live_deployment then ${routed(sql, 'o.from_deployment')} end as warm,
           ${routedRollout(sql)} as rollout,
           case when r.environment = 'preview' then s.gate end as gate,
           pg_current_snapshot()::text as snapshot
    from routes r
    left join preview_settings s on s.app_id = r.app_id
    left join rollouts o on o.route_id = r.id and o.ended_at is null and o.state <> 'reverting'
    order by r.label
  `
  return { routes: rows.map(({ snapshot: _, ...route }) => route), snapshot: rows[0]?.snapshot ?? null }
}

/** One deployment as an edge needs it, or null: it is gone, or was never built. */
export async function readRoutedDeployment(
  sql: Db,
  deploymentId: string,
): Promise<(RoutedDeployment & { appId: string; environment: Environment; label: string }) | null> {
  const [row] = await sql<(RoutedDeployment & { appId: string; environment: Environment; label: string })[]>`
    select d.id, d.version, d.number, d.app_id, d.environment, d.label, b.manifest_key, b.manifest_sha256, d.env_snapshot, d.route_id,
           ${databaseOf(sql)} as database
    from deployments d
    join builds b on b.id = d.build_id
    where d.id = ${deploymentId}
      and b.pruned_at is null
  `
  return row ?? null
}

/** The id of the target's route, made when it is missing; `isFork`: for what a stranger wrote, which is then never anything else's. Throws NAME_TAKEN when another app's route has the same host label. */
export async function ensureRoute(
  sql: Db,
  app: string,
  { environment, branch, label }: Target,
  { isFork = false }: { isFork?: boolean } = {},
): Promise<string> {
  const [kept] = await sql<{ id: string }[]>`
    select id
    from routes
    where app_id = ${app}
      and environment = ${environment}
      and (environment = 'production' or branch = ${branch})
  `
  if (kept) return kept.id
  try {
    const [made] = await sql<{ id: string }[]>`
      insert into routes (id, app_id, environment, branch, label, is_fork)
      values (${newId()}, ${app}, ${environment}, ${branch}, ${label}, ${isFork})
      on conflict do nothing
      returning id
    `
    return made ? made.id : await ensureRoute(sql, app, { environment, branch, label }, { isFork })
  } catch (thrown) {
    if (violatedConstraint(thrown) === 'routes_label_taken') {
      throw new AppError(
        'NAME_TAKEN',
        `the address ${label} belongs to another app; push to a branch with another name`,
        { cause: thrown },
      )
    }
    throw thrown
  }
}

/** Of these ids, those that are no route's, and when this database was begun: of what is older it knows nothing. */
export async function findGoneRoutes(sql: Db, ids: string[]): Promise<{ id: string; begunAt: Date }[]> {
  if (ids.length === 0) return []
  return sql<{ id: string; begunAt: Date }[]>`
    select given.id, (select min(applied_at) from migrations) as begun_at
    from unnest(${ids}::text[]) as given (id)
    where not exists (select from routes r where r.id = given.id)
  `
}

function routed(sql: Db, column: 'r.live_deployment' | 'r.candidate_deployment' | 'o.from_deployment') {
  return sql`(
    select jsonb_build_object(
      'id', d.id, 'version', d.version, 'number', d.number,
      'manifestKey', b.manifest_key, 'manifestSha256', b.manifest_sha256, 'envSnapshot', d.env_snapshot,
      'routeId', d.route_id, 'database', ${databaseOf(sql)}
    )
    from deployments d
    join builds b on b.id = d.build_id
    where d.id = ${sql(column)}
  )`
}

function databaseOf(sql: Db) {
  return sql`(
    select jsonb_build_object('name', a.name, 'password', translate(encode(a.password, 'base64'), E'\\n', ''), 'embedded', a.embedded)
    from app_databases a
    where a.name = d.database
  )`
}

function routedRollout(sql: Db) {
  return sql`(
    select jsonb_build_object(
      'id', o.id, 'stage', s.stage, 'segment', s.ordinal, 'from', o.from_deployment, 'to', o.to_deployment,
      'slowMs', s.slow_ms, 'tooSlowMs', s.too_slow_ms, 'warmupSec', o.policy #> '{autoRollback,warmupSec}'
    )
    from rollout_segments s
    where s.rollout_id = o.id
      and s.ordinal = o.segment
  )`
}
