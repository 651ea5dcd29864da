import type { Environment } from './branches.ts'
import type { Db } from './sql.ts'

/** For so long after a deployment had its last user, its static files are kept: pages that are open that long load them. */
export const retainedDays = 7

const mostPerRoute = 500

/** A bundle whose static files are kept for pages that are still open. `id` is that of its last deployment on the route. */
export type RetainedBundle = { id: string; version: string; manifestKey: string; manifestSha256: string }

/** Those of one route, the last to be left first. */
export type RetainedRoute = { routeId: string; appId: string; environment: Environment; bundles: RetainedBundle[] }

/** What deployments have left of themselves on each route within the last week; of at most 500 a route. */
export async function readRetained(sql: Db): Promise<RetainedRoute[]> {
  return sql<RetainedRoute[]>`
    select r.id as route_id, r.app_id, r.environment, jsonb_agg(
             jsonb_build_object(
               'id', left_by.id, 'version', left_by.version,
               'manifestKey', left_by.manifest_key, 'manifestSha256', left_by.manifest_sha256
             )
             order by left_by.state_since desc
           ) as bundles
    from routes r
    join lateral (
      select *
      from (
        select distinct on (b.id) d.id, d.version, d.state_since, b.manifest_key, b.manifest_sha256
        from deployments d
        join builds b on b.id = d.build_id
        where d.route_id = r.id
          and b.files_pruned_at is null
          and ${hadUsersLately(sql)}
        order by b.id, d.state_since desc
      ) last_of_build
      order by state_since desc
      limit ${mostPerRoute}
    ) left_by on true
    group by r.id
  `
}

/** Of a deployment `d`: it has had users within the last week, and has none now. */
export function hadUsersLately(sql: Db) {
  return sql`(
    d.state_since > now() - make_interval(days => ${retainedDays})
    and (
      d.state in ('superseded', 'rolled_back')
      or d.state in ('failed', 'cancelled')
        and d.traffic_at is not null
    )
  )`
}
