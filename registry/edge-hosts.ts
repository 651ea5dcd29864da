import { leaseSec } from './edges.ts'
import type { Db } from './sql.ts'

/** `asleep`: no process runs, and the next request starts one. `crashed`: it has ended, and is started again in a while. */
export type HostWord = 'starting' | 'awake' | 'asleep' | 'crashed'

/** What an edge says of a deployment that has server code. `isolates`: those that take requests. */
export type HostReport = { deploymentId: string; state: HostWord; isolates: number }

/** The same of all edges with a live lease: awake when it is on one of them. */
export type HostSummary = { state: HostWord; since: Date; isolates: number; edges: number; awakeOn: number }

/** This edge has something new to say of these; of those in `gone`, nothing any more. Null: of none but these. */
export async function reportHosts(
  sql: Db,
  edgeId: string,
  { changed, gone }: { changed: HostReport[]; gone: string[] | null },
): Promise<void> {
  const ids = changed.map(({ deploymentId }) => deploymentId)
  if (gone === null || gone.length > 0)
    await sql`
      delete from edge_hosts
      where edge_id = ${edgeId}
        and ${gone === null ? sql`deployment_id <> all(${ids})` : sql`deployment_id = any(${gone})`}
    `
  if (changed.length > 0)
    await sql`
      insert into edge_hosts (edge_id, deployment_id, state, isolates)
      select ${edgeId}, d.id, said.state, said.isolates::integer
      from unnest(
        ${ids}::text[],
        ${changed.map(({ state }) => state)}::text[],
        ${changed.map(({ isolates }) => String(isolates))}::text[]
      ) as said (id, state, isolates)
      join deployments d on d.id = said.id
      on conflict (edge_id, deployment_id) do update
      set state = excluded.state,
          isolates = excluded.isolates,
          since = case when edge_hosts.state = excluded.state then edge_hosts.since else excluded.since end
    `
}

/** By deployment; those that no living edge has said anything of are not there: static ones, and what is not served. */
export async function readHosts(sql: Db, deployments: { id: string }[]): Promise<Map<string, HostSummary>> {
  const rows = await sql<(HostSummary & { id: string })[]>`
    select h.deployment_id as id,
           (array_agg(h.state order by array_position(array['awake', 'starting', 'crashed', 'asleep'], h.state)))[1] as state,
           (array_agg(h.since order by array_position(array['awake', 'starting', 'crashed', 'asleep'], h.state), h.since))[1] as since,
           sum(h.isolates)::integer as isolates,
           count(*)::integer as edges,
           count(*) filter (where h.state = 'awake')::integer as awake_on
    from edge_hosts h
    join edges e on e.id = h.edge_id
    where h.deployment_id = any(${deployments.map(({ id }) => id)})
      and e.seen_at > now() - make_interval(secs => ${leaseSec})
    group by h.deployment_id
  `
  return new Map(rows.map(({ id, ...summary }) => [id, summary]))
}
