import { leaseSec } from '../edges.ts'
import type { RolloutState } from '../rollout.ts'
import type { RolloutPolicy } from '../rollout-policy.ts'
import { countNames } from '../rollout-reports.ts'
import type { Db } from '../sql.ts'
import type { Before, Verdict } from './decide.ts'
import { type Counts, noCounts, type Segment } from './segments.ts'

/** An edge as far as one rollout goes. */
export type WatchedEdge = {
  id: string
  /** It has renewed its lease. */
  isAlive: boolean
  /** Age of the newest report of any of its processes; null: it has sent none. */
  reportedMsAgo: number | null
  /** It serves the route as it is now. */
  hasWeight: boolean
}

export type WatchedSegment = Segment & { tooSlowMs: number | null; openedSecAgo: number }

/** An open rollout with all that is known of it at one moment; ages in seconds. */
export type Watched = {
  /** That moment, by the database's clock and to the microsecond. */
  readAt: string
  id: string
  routeId: string
  appId: string
  fromDeployment: string
  toDeployment: string
  state: RolloutState
  policy: RolloutPolicy
  before: Before | null
  revision: number
  sentence: string | null
  by: string
  activeSec: number
  /** Since the moment up to which the clock has been counted; null while it stands. */
  sinceTickSec: number | null
  uncoveredSec: number | null
  /** Null: since the stage began. */
  guardWatchSec: number | null
  guardHeldSec: number | null
  probeTurn: number | null
  probesAskedSec: number | null
  /** Of the leader that wrote last. */
  epoch: number
  /** The verdict that was written last; null: there was none. */
  last: Verdict | null
  segments: WatchedSegment[]
  edges: WatchedEdge[]
  /** Of the turn that was asked for. */
  probes: { edgeId: string; passed: number; failed: number; reason: string | null }[]
}

type SegmentRow = Pick<WatchedSegment, 'stage' | 'opens' | 'slowMs' | 'tooSlowMs' | 'openedSecAgo'> & {
  percent: number
  candidate: number[] | null
  baseline: number[] | null
  units: { metric: 'errors' | 'latency'; arm: 'candidate' | 'baseline'; count: number }[] | null
}

/** The open rollouts, or those of them with the ids given, in one statement. */
export async function readWatched(sql: Db, ids: string[] | null = null): Promise<Watched[]> {
  const rows = await sql<(Omit<Watched, 'segments'> & { segments: SegmentRow[] })[]>`
    select clock.at::text as read_at, o.id, o.route_id, o.app_id, o.from_deployment, o.to_deployment, o.state, o.policy, o.before, o.revision, o.sentence, o.by, o.active_sec,
           ${age(sql, 'o.ticked_at')} as since_tick_sec,
           ${age(sql, 'o.uncovered_since')} as uncovered_sec,
           ${age(sql, 'o.guard_watch_since')} as guard_watch_sec,
           ${age(sql, 'o.guard_held_since')} as guard_held_sec,
           o.probe_turn,
           ${age(sql, 'o.probe_asked_at')} as probes_asked_sec,
           o.epoch, o.verdict as last,
           ${segmentsOf(sql)} as segments,
           ${edgesOf(sql)} as edges,
           ${probesOf(sql)} as probes
    from rollouts o
    join routes r on r.id = o.route_id
    cross join (select clock_timestamp() as at) clock
    where o.ended_at is null
      and (${ids}::text[] is null or o.id = any(${ids ?? []}::text[]))
    order by o.started_at
  `
  return rows.map((row) => ({ ...row, segments: row.segments.map(toSegment) }))
}

function age(sql: Db, column: string) {
  return sql`extract(epoch from clock.at - ${sql(column)})::double precision`
}

function segmentsOf(sql: Db) {
  return sql`(
    select coalesce(
             jsonb_agg(
               jsonb_build_object(
                 'stage', s.stage, 'opens', s.opens, 'percent', s.percent, 'slowMs', s.slow_ms, 'tooSlowMs', s.too_slow_ms,
                 'openedSecAgo', ${age(sql, 's.opened_at')}, 'candidate', told.candidate, 'baseline', told.baseline, 'units', seen.units
               )
               order by s.ordinal
             ),
             '[]'
           )
    from rollout_segments s
    left join (
      select segment, ${sums(sql, 'candidate')} as candidate, ${sums(sql, 'baseline')} as baseline
      from rollout_reports
      where rollout_id = o.id
      group by segment
    ) told on told.segment = s.ordinal
    left join (
      select segment, jsonb_agg(jsonb_build_object('metric', metric, 'arm', arm, 'count', count)) as units
      from (
        select segment, metric, arm, count(*) as count
        from rollout_bad_units
        where rollout_id = o.id
        group by segment, metric, arm
      ) counted
      group by segment
    ) seen on seen.segment = s.ordinal
    where s.rollout_id = o.id
  )`
}

function sums(sql: Db, column: 'candidate' | 'baseline') {
  const arm = sql(column)
  return sql`array[
    sum(${arm}[1]), sum(${arm}[2]), sum(${arm}[3]), sum(${arm}[4]), sum(${arm}[5]), sum(${arm}[6]), sum(${arm}[7]), sum(${arm}[8])
  ]`
}

function edgesOf(sql: Db) {
  return sql`(
    select coalesce(
             jsonb_agg(
               jsonb_build_object(
                 'id', e.id,
                 'isAlive', e.seen_at > clock.at - make_interval(secs => ${leaseSec}),
                 'reportedMsAgo', 1000 * ${age(sql, 'told.at')},
                 'hasWeight', coalesce(pg_visible_in_snapshot(r.changed_in, e.routes_seen), false)
               )
             ),
             '[]'
           )
    from edges e
    left join (
      select edge_id, max(at) as at
      from rollout_reports
      where rollout_id = o.id
      group by edge_id
    ) told on told.edge_id = e.id
  )`
}

function probesOf(sql: Db) {
  return sql`(
    select coalesce(
             jsonb_agg(
               jsonb_build_object('edgeId', edge_id, 'passed', passed, 'failed', failed, 'reason', reason) order by at
             ),
             '[]'
           )
    from rollout_probes
    where rollout_id = o.id
      and turn = o.probe_turn
  )`
}

function toSegment({ percent, candidate, baseline, units, ...row }: SegmentRow): WatchedSegment {
  const seen = (arm: 'candidate' | 'baseline', metric: 'errors' | 'latency') =>
    units?.find((unit) => unit.arm === arm && unit.metric === metric)?.count ?? 0
  const counts = (arm: 'candidate' | 'baseline', told: number[] | null): Counts => {
    const sum = { ...noCounts }
    for (const [index, name] of countNames.entries()) sum[name] = told?.[index] ?? 0
    sum.errorUnits += seen(arm, 'errors')
    sum.slowUnits += seen(arm, 'latency')
    return sum
  }
  const weight = percent / 100
  return { ...row, weight, candidate: counts('candidate', candidate), baseline: counts('baseline', baseline) }
}
