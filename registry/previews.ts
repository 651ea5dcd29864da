import type { DeploymentState } from './deployments.ts'
import { microsOf, momentAt, type PlaceInTime } from './place-in-time.ts'
import { previewDefaults } from './preview-settings.ts'
import type { Db } from './sql.ts'

/** A preview as it is: its address, its newest deployment, and when it goes by itself. */
export type Preview = {
  routeId: string
  appId: string
  branch: string
  label: string
  createdAt: Date
  /** When something was deployed to it last. */
  deployedAt: Date
  /** When it is removed, unless something is deployed to it before. */
  endsAt: Date
  deploymentId: string | null
  version: string | null
  state: DeploymentState | null
  stateReason: string | null
}

/** Those of an app, the one that was made last first, from the one after `after` on: that stays as it is, whatever is deployed to them. */
export async function listPreviews(
  sql: Db,
  appId: string,
  { after, limit }: { after: PlaceInTime | null; limit: number },
): Promise<(Preview & { micros: string })[]> {
  const [micros, id] = after ?? []
  return sql<(Preview & { micros: string })[]>`
    select ${microsOf(sql, 'p.created_at')} as micros, p.route_id, p.app_id, p.branch, p.label, p.created_at, p.deployed_at,
           p.deployed_at + make_interval(hours => p.ttl_hours) as ends_at,
           d.id as deployment_id, d.version, d.state, d.state_reason
    from (${agedPreviews(sql)}) p
    left join lateral (
      select id, version, state, state_reason
      from deployments
      where route_id = p.route_id
      order by number desc
      limit 1
    ) d on true
    where p.app_id = ${appId}
      ${after === null ? sql`` : sql`and (p.created_at, p.route_id) < (${momentAt(sql, micros ?? '')}, ${id ?? ''})`}
    order by p.created_at desc, p.route_id desc
    limit ${limit}
  `
}

/** The host labels of those that an app has of forks. */
export async function listForkLabels(sql: Db, appId: string): Promise<string[]> {
  const rows = await sql<{ label: string }[]>`select label from routes where app_id = ${appId} and is_fork`
  return rows.map(({ label }) => label)
}

export type LeftPreview = { appId: string; branch: string; reason: string; why: 'closed' | 'old' | 'many' }

/**
 * Previews that are there and should not be: their pull request is closed, nothing was deployed to them for too long, or their app has more than it may
 * have (the ones deployed longest ago go). One that is being deployed at this moment is too young for either of the last two. `only`: that one, if it is among them.
 */
export async function findLeftPreviews(
  sql: Db,
  only: { appId: string; branch: string } | null = null,
): Promise<LeftPreview[]> {
  return sql<LeftPreview[]>`
    select p.app_id, p.branch,
           case when c.branch is not null then 'closed' when p.is_old then 'old' else 'many' end as why,
           case
             when c.branch is not null then 'its pull request is closed'
             when p.is_old then 'nothing was deployed to it for ' || p.ttl_hours || ' hours'
             else 'the app has more than ' || p.most || ' previews, and it is the oldest'
           end as reason
    from (
      select *, deployed_at < now() - make_interval(hours => ttl_hours) as is_old,
             row_number() over (partition by app_id order by deployed_at desc, branch) as age
      from (${agedPreviews(sql)}) aged
    ) p
    left join repo_heads c on c.app_id = p.app_id and c.branch = p.branch and not c.is_open
    where (c.branch is not null or p.is_old or p.age > p.most)
      and (${only?.appId ?? null}::text is null or p.app_id = ${only?.appId ?? null} and p.branch = ${only?.branch ?? null})
    order by p.deployed_at
    limit 500
  `
}

function agedPreviews(sql: Db) {
  return sql`
    select r.id as route_id, r.app_id, r.branch, r.label, r.created_at,
           coalesce(
             (
               select d.created_at
               from deployments d
               where d.route_id = r.id
               order by d.number desc
               limit 1
             ),
             r.created_at
           ) as deployed_at,
           coalesce(s.ttl_hours, ${previewDefaults.ttlHours}) as ttl_hours,
           coalesce(s.most, ${previewDefaults.most}) as most
    from routes r
    left join preview_settings s on s.app_id = r.app_id
    where r.environment = 'preview'
  `
}

const historyDays = 30

/**
 * Forgets what removed previews have left in the history: their deployments a month after the last of them, and builds of which nothing is kept and
 * nobody tells. Of production everything stays.
 */
export async function prunePreviewHistory(sql: Db): Promise<number> {
  const gone = await sql`
    delete from deployments
    where id in (
      select id
      from deployments
      where environment = 'preview'
        and route_id is null
        and state in ('removed', 'failed', 'cancelled')
        and state_since < now() - make_interval(days => ${historyDays})
      limit 1000
    )
    returning id
  `
  await sql`
    delete from builds b
    where b.files_pruned_at < now() - make_interval(days => ${historyDays})
      and not exists (select from deployments d where d.build_id = b.id)
      and not exists (select from blob_refs f where f.build_id = b.id)
  `
  return gone.length
}
