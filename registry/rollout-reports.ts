import { z } from 'zod'
import { LatencyHistogram } from './latency-histogram.ts'
import { channels } from './routes.ts'
import type { Db } from './sql.ts'
import { keyOf, TakenReports, type Told } from './taken-reports.ts'

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
  /** Those that changed since they were last acknowledged, and the one in force: both arms, for an arm that is not told of has counted nothing. */
  segments: { segment: number; arm: Arm; counts: ReportedCounts; latency: LatencyHistogram }[]
  /** Those that have not been acknowledged yet. Their segments are among `segments`. */
  units: ReportedUnit[]
  /** The paths that failed most on each arm, five at most. */
  failingPaths: FailingPath[]
}

export type FailingPath = { arm: Arm; path: string; status: number; count: number }

/**
 * Ten seconds of a deployment on a route at one edge process, told once they are over. `turn`: which of the process'; `beganAt` as performance.now() of
 * whoever tells.
 */
export type RouteBin = {
  routeId: string
  deploymentId: string
  bootId: string
  turn: number
  beganAt: number
  requests: number
  errors: number
  latency: LatencyHistogram
}

/** What was told and not believed, and why. */
export type Refusal = { rolloutId: string; bootId: string; reason: string }

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
    .min(1)
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
 * that has not begun, with counters that are negative or fall. Whoever leads is told when a new version failed again. A proxy hands in the same `taken`
 * again and again, which spares it reading what it has told before.
 */
export async function reportRollout(
  sql: Db,
  edgeId: string,
  reports: RolloutReport[],
  taken: TakenReports = new TakenReports(),
): Promise<Refusal[]> {
  const { read, refused } = readReports(reports)
  await taken.read(sql, edgeId, read)
  const told = read.map(countsOf).filter((one) => !taken.isLate(one))
  const fallen = told.filter((one) => taken.hasFallen(one))
  const rising = told.filter((one) => !fallen.includes(one))
  refused.push(...fallen.map(({ rolloutId, bootId }) => ({ rolloutId, bootId, reason: 'counters fall' })))
  refused.push(...(await writeCounts(sql, edgeId, toRows(rising, taken))))

  const isRefused = new Set(refused.map(keyOf))
  const accepted = rising.filter((one) => !isRefused.has(keyOf(one)))
  const news = accepted.filter((one) => taken.hasRisen(one, countNames.indexOf('errorRequests')))
  await writeUnits(sql, accepted)
  await wakeLeader(sql, news)
  for (const one of accepted) taken.take(one)
  for (const one of refused) taken.forget(one)
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
function readReports(reports: readonly unknown[]): { read: RolloutReport[]; refused: Refusal[] } {
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
  return { read: [...newest.values()], refused }
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
  // Whoever failed, did so with a request.
  const left = new Map(
    segments.flatMap(({ segment, arm, counts }) => [
      [`errors ${segment} ${arm}`, counts.errorRequests],
      [`latency ${segment} ${arm}`, counts.timedRequests],
    ]),
  )
  for (const { metric, segment, arm } of units) {
    const key = `${metric} ${segment} ${arm}`
    const more = left.get(key) ?? 0
    if (more === 0) return 'units: more than the requests that were counted'
    left.set(key, more - 1)
  }
  return null
}

type Report = Told & Pick<RolloutReport, 'units' | 'failingPaths'> & { latencies: Map<number, Record<Arm, string>> }

function countsOf({ segments, ...rest }: RolloutReport): Report {
  const ordinals = [...new Set(segments.map(({ segment }) => segment))]
  const bothArms = <T>(read: (told: RolloutReport['segments'][number] | undefined) => T) =>
    new Map(
      ordinals.map((ordinal) => {
        const [candidate, baseline] = arms.map((arm) =>
          read(segments.find((told) => told.segment === ordinal && told.arm === arm)),
        ) as [T, T]
        return [ordinal, { candidate, baseline }]
      }),
    )
  return {
    ...rest,
    segments: bothArms((told) => countNames.map((name) => told?.counts[name] ?? 0)),
    latencies: bothArms((told) => told?.latency.toText() ?? ''),
  }
}

type Row = Record<
  'rolloutId' | 'bootId' | 'seq' | 'segment' | 'candidate' | 'baseline' | 'candidateLatency' | 'baselineLatency',
  string
> & { newest: string; failingPaths: string }

// Of what is told again only the newest segment is written: its time says that the process is there.
function toRows(reports: Report[], taken: TakenReports): Row[] {
  return reports.flatMap((report) => {
    const { rolloutId, bootId, seq, segments, latencies, failingPaths } = report
    const newest = Math.max(...segments.keys())
    return [...new Set([...taken.changed(report), newest])].map((segment) => {
      const counts = segments.get(segment)
      const latency = latencies.get(segment)
      return {
        ...{ rolloutId, bootId, seq: String(seq), segment: String(segment), newest: String(newest) },
        ...{ candidate: `{${counts?.candidate.join()}}`, baseline: `{${counts?.baseline.join()}}` },
        ...{ candidateLatency: latency?.candidate ?? '', baselineLatency: latency?.baseline ?? '' },
        failingPaths: segment === newest ? JSON.stringify(failingPaths) : '[]',
      }
    })
  })
}

async function writeCounts(sql: Db, edgeId: string, rows: Row[]): Promise<Refusal[]> {
  if (rows.length === 0) return []
  const column = (name: keyof Row) => rows.map((row) => row[name])
  return sql<Refusal[]>`
    with judged as (
      select g.*,
             case
               when not e.is_known then 'the edge is not known'
               when o.id is null then 'there is no such rollout'
               when o.ended_at is not null then 'the rollout has ended'
               when g.newest > o.segment then 'the segment has not begun'
             end as reason
      from unnest(
        ${column('rolloutId')}::text[], ${column('bootId')}::text[], ${column('seq')}::text[]::bigint[],
        ${column('segment')}::text[]::integer[], ${column('newest')}::text[]::integer[],
        ${column('candidate')}::text[], ${column('baseline')}::text[],
        ${column('candidateLatency')}::text[], ${column('baselineLatency')}::text[], ${column('failingPaths')}::text[]
      ) as g (
        rollout_id, boot_id, seq, segment, newest, candidate, baseline, candidate_latency, baseline_latency, failing_paths
      )
      cross join (select exists (select from edges where id = ${edgeId})) as e (is_known)
      left join rollouts o on o.id = g.rollout_id
    ), written as (
      insert into rollout_reports as k (
        rollout_id, segment, edge_id, boot_id, seq, candidate, baseline, candidate_latency, baseline_latency, failing_paths
      )
      select rollout_id, segment, ${edgeId}, boot_id, seq, candidate::bigint[], baseline::bigint[],
             candidate_latency, baseline_latency, failing_paths
      from judged
      where reason is null
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
    select distinct rollout_id, boot_id, reason
    from judged
    where reason is not null
  `
}

// Whoever leads looks at once.
async function wakeLeader(sql: Db, news: Report[]): Promise<void> {
  const ids = [...new Set(news.map(({ rolloutId }) => rolloutId))]
  if (ids.length > 0)
    await sql`select pg_notify(${channels.rolloutReports}, id) from unnest(${ids}::text[]) as given (id)`
}

// In the order of the key, for two proxies that see the same visitors write the same rows.
async function writeUnits(sql: Db, reports: Report[]): Promise<void> {
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

const names = z.object({ rolloutId: name.catch(''), bootId: name.catch('') }).catch({ rolloutId: '', bootId: '' })

function namesIn(given: unknown): { rolloutId: string; bootId: string } {
  return names.parse(given)
}

/** The first problem and where it is. */
export function describe({ issues }: z.ZodError): string {
  const [first] = issues
  return first ? `${first.path.join('.')}: ${first.message}` : 'is no report'
}
