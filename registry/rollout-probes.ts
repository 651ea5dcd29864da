import { channels } from './routes.ts'
import type { Db } from './sql.ts'

// Requests of the platform's own through the edges, for a new version that nobody visits.

/** What an edge is to do: ask the candidate, under the route's label, as often as `probeCount` says. */
export type WantedProbe = { rolloutId: string; turn: number; appId: string; label: string; deploymentId: string }

export type Probe = {
  rolloutId: string
  turn: number
  edgeId: string
  passed: number
  failed: number
  /** What the first that failed said. */
  reason: string | null
}

/** Probes that this edge has been asked for and has not answered. Whoever is to know of new ones listens to `channels.rollouts`. */
export async function wantedProbes(sql: Db, edgeId: string): Promise<WantedProbe[]> {
  return sql<WantedProbe[]>`
    select o.id as rollout_id, o.probe_turn as turn, o.app_id, r.label, o.to_deployment as deployment_id
    from rollouts o
    join routes r on r.id = o.route_id
    where o.ended_at is null
      and o.state <> 'reverting'
      and o.probe_turn is not null
      and not exists (
        select from rollout_probes p
        where p.rollout_id = o.id
          and p.turn = o.probe_turn
          and p.edge_id = ${edgeId}
      )
  `
}

/** What came of an edge's probes. False, and nothing is kept: nobody asks for them any more, the edge is not known, or the numbers cannot be. */
export async function insertProbe(sql: Db, probe: Probe): Promise<boolean> {
  const { rolloutId, turn, edgeId, passed, failed, reason } = probe
  if (![turn, passed, failed].every((count) => Number.isSafeInteger(count) && count >= 0)) return false
  const inserted = await sql`
    with inserted as (
      insert into rollout_probes (rollout_id, turn, edge_id, passed, failed, reason)
      select o.id, ${turn}, e.id, ${passed}, ${failed}, ${reason?.replaceAll('\0', '').slice(0, 500) ?? null}
      from rollouts o, edges e
      where o.id = ${rolloutId}
        and o.probe_turn = ${turn}
        and o.ended_at is null
        and e.id = ${edgeId}
      on conflict do nothing
      returning rollout_id
    )
    select pg_notify(${channels.rolloutReports}, rollout_id)
    from inserted
  `
  return inserted.length === 1
}
