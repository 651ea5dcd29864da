import { setTimeout as pause } from 'node:timers/promises'
import type { Db } from './sql.ts'

/** An edge whose lease is older than this is not counted. */
export const leaseSec = 5

export type EdgeReport = { edgeId: string; ready: boolean; reason: string | null }

/** Called every 2 s or oftener by a living edge. True: the registry knew nothing of it, or had forgotten it. */
export async function renewLease(sql: Db, edgeId: string): Promise<boolean> {
  const [edge] = await sql<{ isNew: boolean }[]>`
    insert into edges (id)
    values (${edgeId})
    on conflict (id) do update
    set seen_at = now()
    returning xmax = 0 as is_new
  `
  return edge?.isNew === true
}

/** An edge that stops says so, and is not waited for. */
export async function endLease(sql: Db, edgeId: string): Promise<void> {
  await sql`delete from edges where id = ${edgeId}`
}

/** Ids of the deployments this edge has been asked to prepare and has not answered for yet. */
export async function wantedPreparations(sql: Db, edgeId: string): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select d.id
    from deployments d
    where d.prepare_requested_at > now() - interval '10 minutes'
      and d.state in ('uploading', 'superseded', 'rolled_back')
      and not exists (
        select from edge_reports r
        where r.edge_id = ${edgeId}
          and r.deployment_id = d.id
          and r.at > d.prepare_requested_at
      )
    order by d.prepare_requested_at
  `
  return rows.map(({ id }) => id)
}

/** What this edge found: ready to serve, or why not. */
export async function reportPrepared(
  sql: Db,
  {
    edgeId,
    deploymentId,
    ready,
    reason = null,
  }: { edgeId: string; deploymentId: string; ready: boolean; reason?: string | null },
): Promise<void> {
  await sql`
    insert into edge_reports (edge_id, deployment_id, ready, reason)
    values (${edgeId}, ${deploymentId}, ${ready}, ${reason})
    on conflict (edge_id, deployment_id) do update
    set ready = excluded.ready,
        reason = excluded.reason,
        at = clock_timestamp()
  `
}

/** Where the preparation stands: what the edges with a live lease have said since it was asked for, and how many are still to answer. */
export async function readPreparation(
  sql: Db,
  deploymentId: string,
): Promise<{ reports: EdgeReport[]; waitingFor: number }> {
  const rows = await sql<{ edgeId: string; ready: boolean | null; reason: string | null }[]>`
    select e.id as edge_id, r.ready, r.reason
    from edges e
    join deployments d on d.id = ${deploymentId}
    left join edge_reports r on r.edge_id = e.id and r.deployment_id = d.id and r.at > d.prepare_requested_at
    where e.seen_at > now() - make_interval(secs => ${leaseSec})
  `
  const reports = rows.flatMap(({ edgeId, ready, reason }) => (ready === null ? [] : [{ edgeId, ready, reason }]))
  return { reports, waitingFor: rows.length - reports.length }
}

/** This edge serves the routes as they were in this snapshot. */
export async function reportRoutesSeen(sql: Db, edgeId: string, snapshot: string): Promise<void> {
  await sql`
    insert into edges (id, routes_seen)
    values (${edgeId}, ${snapshot}::pg_snapshot)
    on conflict (id) do update
    set routes_seen = excluded.routes_seen
  `
}

const lookEveryMs = 10

/**
 * Resolves when every edge with a live lease serves the route of this deployment as it is now, as far as edges have ever said what they see;
 * after `timeoutMs` in any case, for one that is slow is no reason to keep people waiting. False: it was the time.
 */
export async function awaitRouteSeen(
  sql: Db,
  deploymentId: string,
  { timeoutMs = 1000, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<boolean> {
  for (const startedAt = performance.now(); !signal?.aborted; await pause(lookEveryMs)) {
    const [{ isSeen } = { isSeen: true }] = await sql<{ isSeen: boolean }[]>`
      select not exists (
        select from edges e, routes r, deployments d
        where d.id = ${deploymentId}
          and r.id = d.route_id
          and e.seen_at > now() - make_interval(secs => ${leaseSec})
          and not pg_visible_in_snapshot(r.changed_in, e.routes_seen)
      ) as is_seen
    `
    if (isSeen) return true
    if (performance.now() - startedAt > timeoutMs) break
  }
  return false
}

/**
 * How many edges do not serve the route of this deployment as it is now: those with a live lease, and those that are gone without a word and had
 * visitors of the route, who still has them as far as anybody knows.
 */
export async function countNotFollowing(sql: Db, deploymentId: string): Promise<number> {
  const [row] = await sql<{ missing: number }[]>`
    select count(*)::integer as missing
    from deployments d
    join routes r on r.id = d.route_id
    cross join edges e
    where d.id = ${deploymentId}
      and not pg_visible_in_snapshot(r.changed_in, e.routes_seen)
      and (
        e.seen_at > now() - make_interval(secs => ${leaseSec})
        or exists (select from route_bins b where b.route_id = r.id and b.edge_id = e.id)
      )
  `
  return row?.missing ?? 0
}

/** How many proxies run now. */
export async function countEdges(sql: Db): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count
    from edges
    where seen_at > now() - make_interval(secs => ${leaseSec})
  `
  return row?.count ?? 0
}

export async function forgetDeadEdges(sql: Db): Promise<void> {
  await sql`delete from edges where seen_at < now() - interval '1 hour'`
}
