import { z } from 'zod'
import { leaseSec } from './edges.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import { countRefusals, describe, type RouteBin } from './rollout-reports.ts'
import type { Db } from './sql.ts'

/** How long bins are of use: for how often a deployment failed before a rollout, and how evenly. */
export const keptForMin = 30
const binMs = 10_000
const longestQuestionMs = 2_000

const name = z.string().regex(/^[\w-]{1,64}$/, 'is no name')
const counter = z.int().min(0)
const routeBin = z
  .object({
    routeId: name,
    deploymentId: name,
    bootId: name,
    turn: counter,
    beganAt: z.number(),
    requests: counter,
    errors: counter,
    latency: z.instanceof(LatencyHistogram),
  })
  .refine(({ errors, requests }) => errors <= requests, 'has more errors than requests')

/** A bin that was not believed, and why. */
export type RefusedBin = { routeId: string; reason: string }

/**
 * Takes in what the processes of one proxy counted in ten seconds that are over; told again it changes nothing. When they began is kept by the database's
 * clock, for the clocks of machines differ, however long this takes to arrive there. A bin is refused, and counted at the rollout of its route if there is one, when its edge or its route is not
 * known, its numbers cannot be, or it is older than half an hour.
 */
export async function reportBins(sql: Db, edgeId: string, bins: RouteBin[]): Promise<RefusedBin[]> {
  const { told, refused } = readBins(bins)
  refused.push(...(await writeBins(sql, edgeId, told)))
  if (refused.length === 0) return []
  const open = await sql<{ id: string; routeId: string }[]>`
    select id, route_id
    from rollouts
    where ended_at is null
      and route_id = any(${refused.map(({ routeId }) => routeId)}::text[])
  `
  await countRefusals(
    sql,
    refused.flatMap((bin) => open.filter(({ routeId }) => routeId === bin.routeId).map(({ id }) => id)),
  )
  return refused
}

/** Forgets those that are of no more use. Those of an edge that has gone without a word say how much traffic it may have, until it is forgotten. */
export async function pruneBins(sql: Db): Promise<void> {
  await sql`
    delete from route_bins b
    where at < now() - make_interval(mins => ${keptForMin + 5})
      and not exists (
        select from edges e
        where e.id = b.edge_id
          and e.seen_at < now() - make_interval(secs => ${leaseSec})
      )
  `
}

function readBins(bins: readonly unknown[]): { told: RouteBin[]; refused: RefusedBin[] } {
  const told: RouteBin[] = []
  const refused: RefusedBin[] = []
  for (const given of bins) {
    const read = routeBin.safeParse(given)
    if (read.success) told.push(read.data)
    else refused.push({ ...named.parse(given), reason: describe(read.error) })
  }
  return { told, refused }
}

const named = z.object({ routeId: name.catch('') }).catch({ routeId: '' })

async function writeBins(sql: Db, edgeId: string, bins: RouteBin[]): Promise<RefusedBin[]> {
  if (bins.length === 0) return []
  const startOfClock = await readStartOfClock(sql)
  return sql<RefusedBin[]>`
    with judged as (
      select g.*,
             case
               when not exists (select from edges where id = ${edgeId}) then 'the edge is not known'
               when r.id is null then 'there is no such route'
               when g.at < now() - make_interval(mins => ${keptForMin}) then 'too old'
             end as reason
      from (
        select route_id, deployment_id, boot_id, turn, requests, errors, latency,
               to_timestamp(at / 1000.0) as at
        from unnest(
          ${bins.map(({ routeId }) => routeId)}::text[], ${bins.map(({ deploymentId }) => deploymentId)}::text[],
          ${bins.map(({ bootId }) => bootId)}::text[], ${bins.map(({ turn }) => String(turn))}::text[]::bigint[],
          ${bins.map(({ beganAt }) => String(Math.round((startOfClock + beganAt) / binMs) * binMs))}::text[]::bigint[],
          ${bins.map(({ requests }) => String(requests))}::text[]::bigint[],
          ${bins.map(({ errors }) => String(errors))}::text[]::bigint[],
          ${bins.map(({ latency }) => latency.toText())}::text[]
        ) as told (route_id, deployment_id, boot_id, turn, at, requests, errors, latency)
      ) g
      left join routes r on r.id = g.route_id
    ), written as (
      insert into route_bins (route_id, deployment_id, edge_id, boot_id, turn, at, requests, errors, latency)
      select route_id, deployment_id, ${edgeId}, boot_id, turn, at, requests, errors, latency
      from judged
      where reason is null
      on conflict do nothing
    )
    select route_id, reason
    from judged
    where reason is not null
  `
}

// What the database's clock said when performance.now() was 0, in ms since 1970. Throws when the answer may be much older than it arrives.
async function readStartOfClock(sql: Db): Promise<number> {
  const askedAt = performance.now()
  const [clock] = await sql<{ ms: number }[]>`select extract(epoch from clock_timestamp())::float8 * 1000 as ms`
  const answeredAt = performance.now()
  if (!clock || answeredAt - askedAt > longestQuestionMs)
    throw new Error('the registry was slow to say what time it is')
  return clock.ms - answeredAt
}
