import type { Deployment } from '../deployments.ts'
import type { Db } from '../sql.ts'

export type PlatformState = { edges: number; queued: number; running: number }
export type AppState = {
  appId: string
  environment: 'production' | 'preview'
  branch: string
  label: string
  live: Deployment | null
  latest: Deployment | null
}

/** Edges with a live lease, and deployments on their way. */
export async function readPlatformState(sql: Db): Promise<PlatformState> {
  const [state] = await sql<PlatformState[]>`
    select (select count(*)::integer from edges where seen_at > now() - interval '5 seconds') as edges,
           count(*) filter (where state = 'queued')::integer as queued,
           count(*) filter (where state in ('building', 'built', 'uploading'))::integer as running
    from deployments
    where state in ('queued', 'building', 'built', 'uploading')
  `
  return state ?? { edges: 0, queued: 0, running: 0 }
}

/** Where an address stands in the list of all. */
export type AppPlace = [app: string, environment: AppState['environment'], branch: string]

type RouteRow = Omit<AppState, 'live' | 'latest'> & { liveId: string | null; latestId: string | null }

/** One entry per address by app, production before previews, from the one after `after` on; an app that was never deployed has one without deployments. */
export async function readAppStates(
  sql: Db,
  { only, after, limit }: { only: string[] | null; after: AppPlace | null; limit: number },
): Promise<AppState[]> {
  const [app, environment, branch] = after ?? []
  const rows = await sql<RouteRow[]>`
    select a.id as app_id,
           coalesce(r.environment, 'production') as environment,
           coalesce(r.branch, a.production_branch, 'main') as branch,
           coalesce(r.label, a.id) as label,
           r.live_deployment as live_id,
           (
             select d.id
             from deployments d
             where d.route_id = r.id
             order by d.number desc
             limit 1
           ) as latest_id
    from apps a
    left join routes r on r.app_id = a.id
    where (${only}::text[] is null or a.id = any(${only}))
      ${after === null ? sql`` : sql`and (a.id, coalesce(r.environment = 'preview', false), coalesce(r.branch, a.production_branch, 'main')) > (${app ?? ''}, ${environment === 'preview'}, ${branch ?? ''})`}
    order by a.id, coalesce(r.environment = 'preview', false), coalesce(r.branch, a.production_branch, 'main')
    limit ${limit}
  `
  const ids = rows.flatMap(({ liveId, latestId }) => [liveId, latestId]).filter((id) => id !== null)
  const deployments = await sql<Deployment[]>`select * from deployments where id = any(${ids})`
  const byId = new Map(deployments.map((deployment) => [deployment.id, deployment]))
  return rows.map(({ liveId, latestId, ...row }) => ({
    ...row,
    live: byId.get(liveId ?? '') ?? null,
    latest: byId.get(latestId ?? '') ?? null,
  }))
}
