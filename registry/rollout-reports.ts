import { z } from 'zod'
import { LatencyHistogram } from './latency-histogram.ts'
import { channels } from './routes.ts'
import type { Db } from './sql.ts'

// What edge processes tell of the requests they route. Everything is cumulative, so that a report that is lost, doubled or late changes nothing.

export type Arm = 'candidate' | 'baseline'

/**
 * What `Counts` in rollouts/segments.ts says, but for the units whose hashes are reported. None is greater than the requests it is part of: a
 * request counts as soon as it is routed, as timed and as slow no sooner.
 */
export type ReportedCounts = {
  requests: number
  tosses: number
  errorRequests: number
  /** Failed requests of units that cannot come back: no cookie came, and none was set. */
  errorUnits: number
  timedRequests: number
  /** Slow requests of the same kind of unit. */
  slowUnits: number
  tooSlowRequests: number
  refusedRequests: number
}

/** A visitor seen to fail, or to be slow, for the first time in the rollout by this edge process. `unit`: 16 hexadecimal digits. */
export type ReportedUnit = { metric: 'errors' | 'latency'; unit: string; segment: number; arm: Arm }

/** Of one edge process about one rollout. `bootId` is one life of that process, `seq` grows with each report. */
export type RolloutReport = {
  rolloutId: string
  bootId: string
  seq: number
  /** Every segment that was counted in since the boot, both arms. */
  segments: { segment: number; arm: Arm; counts: ReportedCounts; latency: LatencyHistogram }[]
  /** Those that have not been acknowledged yet. Their segments are among `segments`. */
  units: ReportedUnit[]
  /** The paths that failed most on each arm, five at most. */
  failingPaths: FailingPath[]
}

export type FailingPath = { arm: Arm; path: string; status: number; count: number }

/** Ten seconds of a deployment on a route at one edge process, told once they are over. `at` is when they began, ms since 1970. */
export type RouteBin = {
  routeId: string
  deploymentId: string
  bootId: string
  at: number
  requests: number
  errors: number
  latency: LatencyHistogram
}

/** What was told and not believed, and why. */
export type Refusal = { rolloutId: string; bootId: string; reason: string }

/** By process and rollout: the counts of each segment as they were taken in last. */
export type TakenCounts = Map<string, Map<string, string>>

/** The order in which a row of rollout_reports has them. */
export const countNames = [
  'requests',
  'tosses',
  'errorRequests',
  'errorUnits',
  'timedRequests',
  'slowUnits',
  'tooSlowRequests',
  'refusedRequests',
] as const satisfies (keyof ReportedCounts)[]

const arms = ['candidate', 'baseline'] as const
const name = z.string().regex(/^[\w-]{1,64}$/, 'is no name')
const arm = z.enum(arms)
const counter = z.int().min(0)
const segment = z.int().min(0).max(10_000)
const longestPath = 500
// Rollouts that have ended are not told of any more; all of it is sent once again then.
const mostTaken = 5_000

const counts = z.object(
  Object.fromEntries(countNames.map((count) => [count, counter])) as Record<keyof ReportedCounts, typeof counter>,
)

const rolloutReport = z.object({
  rolloutId: name,
  bootId: name,
  seq: counter,
  segments: z
    .array(
      z.object({
        segment,
        arm,
        counts: counts.refine(fits, 'has more of a kind than there were requests'),
        latency: z.instanceof(LatencyHistogram),
      }),
    )
    .max(2000)
    .refine(
      (all) => new Set(all.map(({ segment, arm }) => `${segment} ${arm}`)).size === all.length,
      'has a segment twice',
    ),
  units: z
    .array(z.object({ metric: z.enum(['errors', 'latency']), unit: z.string().regex(/^[0-9a-f]{16}$/), segment, arm }))
    .max(100_000),
  failingPaths: z
    .array(
      z.object({
        arm,
        path: z.string().transform((path) => path.slice(0, longestPath)),
        status: counter,
        count: counter,
      }),
    )
    .max(10),
})

/**
 * Takes in what the processes of one proxy tell, all of it at once. A report that is doubled or late changes nothing. One that cannot be true
 * is refused as a whole, counted at its rollout and returned: of an edge that is not known, about a rollout that is not known or has ended or a segment
 * that has not begun, with counters that are negative or fall. Whoever leads is told when a new version failed again. A caller that hands in the same
 * `taken` again and again spares the database the segments that are over: they are most of a report.
 */
export async function reportRollout(
  sql: Db,
  edgeId: string,
  reports: RolloutReport[],
  taken: TakenCounts = new Map(),
): Promise<Refusal[]> {
  const { told, refused } = readReports(reports)
  const judged = await writeCounts(sql, edgeId, told, taken)
  refused.push(...judged.refused)
  const isRefused = new Set(judged.refused.map(keyOf))
  await writeUnits(
    sql,
    told.filter((report) => !isRefused.has(keyOf(report))),
  )
  if (judged.news.length > 0)
    await sql`select pg_notify(${channels.rolloutReports}, id) from unnest(${judged.news}::text[]) as given (id)`
  await countRefusals(
    sql,
    refused.map(({ rolloutId }) => rolloutId),
  )
  return refused
}

/** Told of a rollout and refused; where there is no such rollout, nothing is counted. */
export async function countRefusals(sql: Db, rolloutIds: string[]): Promise<void> {
  for (const id of new Set(rolloutIds)) {
    await sql`
      update rollouts
      set refused_reports = refused_reports + ${rolloutIds.filter((other) => other === id).length}
      where id = ${id}
    `
  }
}

// Of two reports of one process, the newer.
function readReports(reports: readonly unknown[]): { told: RolloutReport[]; refused: Refusal[] } {
  const newest = new Map<string, RolloutReport>()
  const refused: Refusal[] = []
  for (const given of reports) {
    const read = rolloutReport.safeParse(given)
    const problem = read.success ? findProblem(read.data) : describe(read.error)
    if (!read.success || problem !== null) {
      refused.push({ ...namesIn(given), reason: problem ?? '' })
      continue
    }
    const known = newest.get(keyOf(read.data))
    if (!known || known.seq < read.data.seq) newest.set(keyOf(read.data), read.data)
  }
  return { told: [...newest.values()], refused }
}

function fits(counts: ReportedCounts): boolean {
  const { requests, tosses, errorRequests, errorUnits, timedRequests, slowUnits, tooSlowRequests } = counts
  const parts = [tosses, errorRequests, timedRequests, counts.refusedRequests]
  return (
    parts.every((part) => part <= requests) &&
    errorUnits <= errorRequests &&
    slowUnits <= timedRequests &&
    tooSlowRequests <= timedRequests
  )
}

function findProblem({ segments, units }: RolloutReport): string | null {
  const counted = new Set(segments.map(({ segment }) => segment))
  return units.every(({ segment }) => counted.has(segment)) ? null : 'units: of a segment that nothing was counted in'
}

type Judged = { rolloutId: string; bootId: string; reason: string | null; hasNews: boolean }

// A process that has counted nothing yet is known to report by a row without counts in the segment in force. Of the rows that it sends again, only
// the newest segment's is written, for its time, when nothing else is new.
async function writeCounts(
  sql: Db,
  edgeId: string,
  reports: RolloutReport[],
  taken: TakenCounts,
): Promise<{ refused: Refusal[]; news: string[] }> {
  const all = reports.flatMap(toRows)
  const rows = all.filter((row) => row.isNewest === 'true' || taken.get(keyOf(row))?.get(row.segment) !== countsOf(row))
  if (rows.length === 0) return { refused: [], news: [] }
  const column = (name: keyof Row) => rows.map((row) => row[name])
  const judged = await sql<Judged[]>`
    with given as (
      select *
      from unnest(
        ${column('rolloutId')}::text[], ${column('bootId')}::text[], ${column('seq')}::text[]::bigint[],
        ${column('segment')}::text[]::integer[], ${column('isNewest')}::text[]::boolean[],
        ${column('candidate')}::text[], ${column('baseline')}::text[],
        ${column('candidateLatency')}::text[], ${column('baselineLatency')}::text[], ${column('failingPaths')}::text[]
      ) as told (
        rollout_id, boot_id, seq, segment, is_newest, candidate, baseline, candidate_latency, baseline_latency, failing_paths
      )
    ), judged as (
      select g.rollout_id, g.boot_id, g.seq, g.is_newest, c.candidate, c.baseline,
             g.candidate_latency, g.baseline_latency, g.failing_paths,
             case g.segment when -1 then o.segment else g.segment end as segment,
             k.seq as kept_seq,
             (c.candidate, c.baseline) is distinct from (k.candidate, k.baseline) as is_new,
             c.candidate[3] > coalesce(k.candidate[3], 0) as has_news,
             case
               when not e.is_known then 'the edge is not known'
               when o.id is null then 'there is no such rollout'
               when o.ended_at is not null then 'the rollout has ended'
               when g.segment > o.segment then 'the segment has not begun'
               when g.seq > k.seq and exists (
                 select from unnest(c.candidate || c.baseline, k.candidate || k.baseline) as both_of (told, kept)
                 where told < kept
               ) then 'counters fall'
             end as reason
      from given g
      cross join lateral (select g.candidate::bigint[], g.baseline::bigint[]) as c (candidate, baseline)
      cross join (select exists (select from edges where id = ${edgeId})) as e (is_known)
      left join rollouts o on o.id = g.rollout_id
      left join rollout_reports k
        on k.rollout_id = g.rollout_id
       and k.segment = case g.segment when -1 then o.segment else g.segment end
       and k.edge_id = ${edgeId}
       and k.boot_id = g.boot_id
    ), refused as (
      select rollout_id, boot_id, min(reason) as reason
      from judged
      where reason is not null
      group by rollout_id, boot_id
    ), written as (
      insert into rollout_reports as k (
        rollout_id, segment, edge_id, boot_id, seq, candidate, baseline, candidate_latency, baseline_latency, failing_paths
      )
      select rollout_id, segment, ${edgeId}, boot_id, seq, candidate, baseline, candidate_latency, baseline_latency, failing_paths
      from judged j
      where segment >= 0
        and (kept_seq is null or seq > kept_seq and (is_new or is_newest))
        and not exists (select from refused r where r.rollout_id = j.rollout_id and r.boot_id = j.boot_id)
      on conflict (rollout_id, segment, edge_id, boot_id) do update
      set seq = excluded.seq,
          candidate = excluded.candidate,
          baseline = excluded.baseline,
          candidate_latency = excluded.candidate_latency,
          baseline_latency = excluded.baseline_latency,
          failing_paths = excluded.failing_paths,
          at = clock_timestamp()
      where k.seq < excluded.seq
    )
    select rollout_id, boot_id, reason, false as has_news
    from refused
    union all
    select rollout_id, boot_id, null, true
    from judged
    where has_news
      and reason is null
  `
  const refused = judged.flatMap(({ rolloutId, bootId, reason }) => (reason ? [{ rolloutId, bootId, reason }] : []))
  const isRefused = new Set(refused.map(keyOf))
  if (taken.size > mostTaken) taken.clear()
  for (const report of reports) taken.set(keyOf(report), new Map())
  for (const row of all) if (!isRefused.has(keyOf(row))) taken.get(keyOf(row))?.set(row.segment, countsOf(row))
  const news = judged.filter(({ hasNews }) => hasNews).map(({ rolloutId }) => rolloutId)
  return { refused, news: [...new Set(news)] }
}

type Row = {
  rolloutId: string
  bootId: string
  seq: string
  segment: string
  isNewest: string
  candidate: string
  baseline: string
  candidateLatency: string
  baselineLatency: string
  failingPaths: string
}

function toRows({ rolloutId, bootId, seq, segments, failingPaths }: RolloutReport): Row[] {
  const ordinals = [...new Set(segments.map(({ segment }) => segment))]
  const newest = Math.max(-1, ...ordinals)
  return (ordinals.length === 0 ? [-1] : ordinals).map((ordinal) => {
    const [candidate, baseline] = arms.map((one) => {
      const told = segments.find(({ segment, arm }) => segment === ordinal && arm === one)
      const values = countNames.map((count) => told?.counts[count] ?? 0)
      return { counts: `{${values.join()}}`, latency: JSON.stringify(told?.latency ?? []) }
    })
    return {
      ...{ rolloutId, bootId, seq: String(seq), segment: String(ordinal), isNewest: String(ordinal === newest) },
      ...{ candidate: candidate?.counts ?? '', baseline: baseline?.counts ?? '' },
      ...{ candidateLatency: candidate?.latency ?? '', baselineLatency: baseline?.latency ?? '' },
      failingPaths: ordinal === newest ? JSON.stringify(failingPaths) : '[]',
    }
  })
}

// In the order of the key, for two proxies that see the same visitors write the same rows.
async function writeUnits(sql: Db, reports: RolloutReport[]): Promise<void> {
  const units = reports.flatMap(({ rolloutId, units }) => units.map((unit) => ({ rolloutId, ...unit })))
  if (units.length === 0) return
  await sql`
    insert into rollout_bad_units as k (rollout_id, metric, unit, segment, arm)
    select distinct on (rollout_id, metric, unit) rollout_id, metric, decode(unit, 'hex'), segment, arm
    from unnest(
      ${units.map(({ rolloutId }) => rolloutId)}::text[], ${units.map(({ metric }) => metric)}::text[],
      ${units.map(({ unit }) => unit)}::text[], ${units.map(({ segment }) => String(segment))}::text[]::integer[],
      ${units.map(({ arm }) => arm)}::text[]
    ) as told (rollout_id, metric, unit, segment, arm)
    order by rollout_id, metric, unit, segment, arm
    on conflict (rollout_id, metric, unit) do update
    set segment = excluded.segment,
        arm = excluded.arm
    where (excluded.segment, excluded.arm) < (k.segment, k.arm)
  `
}

const countsOf = ({ candidate, baseline }: Row) => `${candidate}${baseline}`

const keyOf = ({ rolloutId, bootId }: { rolloutId: string; bootId: string }) => `${rolloutId} ${bootId}`

const names = z.object({ rolloutId: name.catch(''), bootId: name.catch('') }).catch({ rolloutId: '', bootId: '' })

function namesIn(given: unknown): { rolloutId: string; bootId: string } {
  return names.parse(given)
}

/** The first problem and where it is. */
export function describe({ issues }: z.ZodError): string {
  const [first] = issues
  return first ? `${first.path.join('.')}: ${first.message}` : 'is no report'
}
