import { microsOf, momentAt, type PlaceInTime } from './place-in-time.ts'
import type { Db } from './sql.ts'

/** A move of a deployment, or what was decided about its rollout. `key`: its name among those of the same moment. */
export type HistoryEntry = {
  at: Date
  micros: string
  key: string
  from: string | null
  to: string | null
  rollout: string | null
  by: string
  reason: string | null
  durationMs: number | null
}

/** What happened to a deployment, the oldest first, from the entry after `after` on; of one moment the move before the decision. */
export async function pageHistory(
  sql: Db,
  deploymentId: string,
  { after, limit }: { after: PlaceInTime | null; limit: number },
): Promise<HistoryEntry[]> {
  const [micros, key] = after ?? []
  return sql<HistoryEntry[]>`
    select *, ${microsOf(sql, 'at')} as micros
    from (
      select at, 'move ' || lpad(id::text, 19, '0') as key, from_state as "from", to_state as "to", null as rollout, by, reason, duration_ms
      from deployment_events
      where deployment_id = ${deploymentId}
      union all
      select n.at, 'rollout ' || lpad(n.id::text, 19, '0'), null, null, n.kind, n.by, n.sentence, null
      from rollouts o
      join rollout_decisions n on n.rollout_id = o.id
      where o.to_deployment = ${deploymentId}
    ) history
    where true
      ${after === null ? sql`` : sql`and (at, key) > (${momentAt(sql, micros ?? '')}, ${key ?? ''})`}
    order by at, key
    limit ${limit}
  `
}
