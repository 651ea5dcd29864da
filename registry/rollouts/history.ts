import { LatencyHistogram } from '../latency-histogram.ts'
import type { RolloutPolicy } from '../rollout-policy.ts'
import type { Db } from '../sql.ts'
import { burstFactor } from './burst-factor.ts'
import type { Before } from './decide.ts'
import { type LatencyLimits, readLatencyLimits, slowShare } from './latency-limits.ts'

// What the ten-second bins of a route say of the time before a rollout, and before a stage.

type Slot = { requests: number; errors: number; latency: LatencyHistogram; isRecent: boolean }
type Baseline = { routeId: string; fromDeployment: string }

const slotSec = 10
const recentMin = 5
const limitsMin = 15
const beforeMin = 30

/** What is known of the old deployment now: frozen when the first stage begins. */
export async function readBefore(sql: Db, { routeId, fromDeployment }: Baseline): Promise<Before> {
  const [recent] = await sql<{ requests: number }[]>`
    select coalesce(sum(requests), 0)::bigint as requests
    from route_bins
    where route_id = ${routeId}
      and at > clock_timestamp() - make_interval(mins => ${recentMin})
  `
  const slots = await readSlots(sql, { routeId, fromDeployment }, beforeMin)
  const slowMs = mergeRecent(slots).quantileEdge(1 - slowShare)
  const errors = slots.map((slot) => ({ bad: slot.errors, total: slot.requests }))
  const latency = slots.map((slot) => ({
    bad: slowMs === null ? 0 : slot.latency.countOver(slowMs),
    total: slot.latency.total,
  }))
  return {
    recentRequests: recent?.requests ?? 0,
    failures: { errors: sum(slots, 'errors'), requests: sum(slots, 'requests') },
    burst: { errors: burstFactor(errors), latency: burstFactor(latency) },
  }
}

/** The limits of a stage that begins now; null: too few requests to know. */
export async function readLimits(
  sql: Db,
  baseline: Baseline,
  { autoRollback }: RolloutPolicy,
): Promise<LatencyLimits | null> {
  return readLatencyLimits(mergeRecent(await readSlots(sql, baseline, limitsMin)), autoRollback)
}

/**
 * How many requests of the route each edge told of in the five minutes before its newest bin: what its part of the traffic was when it was last
 * heard of, for an edge that is cut off goes on serving.
 */
export async function readEdgeTraffic(sql: Db, routeId: string): Promise<Map<string, number>> {
  const rows = await sql<{ edgeId: string; requests: number }[]>`
    select edge_id, sum(requests)::bigint as requests
    from (
      select edge_id, requests, at, max(at) over (partition by edge_id) as newest
      from route_bins
      where route_id = ${routeId}
    ) bins
    where at > newest - make_interval(mins => ${recentMin})
    group by edge_id
  `
  return new Map(rows.map(({ edgeId, requests }) => [edgeId, requests]))
}

// Bins of all processes, ten seconds by ten seconds.
async function readSlots(sql: Db, { routeId, fromDeployment }: Baseline, minutes: number): Promise<Slot[]> {
  const rows = await sql<{ requests: number; errors: number; isRecent: boolean; latencies: string[] }[]>`
    select sum(requests)::bigint as requests, sum(errors)::bigint as errors,
           min(at) > clock_timestamp() - make_interval(mins => ${limitsMin}) as is_recent,
           jsonb_agg(latency) as latencies
    from route_bins
    where route_id = ${routeId}
      and deployment_id = ${fromDeployment}
      and at > clock_timestamp() - make_interval(mins => ${minutes})
    group by floor(extract(epoch from at) / ${slotSec})
  `
  return rows.map(({ latencies, ...slot }) => {
    const latency = new LatencyHistogram()
    for (const text of latencies) latency.merge(LatencyHistogram.parse(text))
    return { ...slot, latency }
  })
}

function mergeRecent(slots: readonly Slot[]): LatencyHistogram {
  const merged = new LatencyHistogram()
  for (const { isRecent, latency } of slots) if (isRecent) merged.merge(latency)
  return merged
}

function sum(slots: readonly Slot[], what: 'errors' | 'requests'): number {
  return slots.reduce((total, slot) => total + slot[what], 0)
}
