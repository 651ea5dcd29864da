import { type Deployment, findDeployment } from './deployments.ts'
import { AppError } from './errors.ts'
import { formatEvidence } from './evidence-text.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import { type Reasons, readReasons } from './rollback-reasons.ts'
import type { Rollout } from './rollout.ts'
import { countNames, type ReportedCounts } from './rollout-reports.ts'
import type { Db } from './sql.ts'

/** What one of the two versions answered in the stage in force; latencies in ms to the first byte, null without any. */
export type ArmView = { requests: number; errors: number; refused: number; p50Ms: number | null; p95Ms: number | null }

/** Evidence that the new version is worse, against the bar over which that is called out; as text and as ln of the numbers. */
export type EvidenceView = {
  evidence: string
  bar: string
  lnEvidence: number
  lnBar: number
  /** Possibly worse than is tolerated. */
  isMaterial: boolean
}

export type Decision = { at: Date; kind: string; by: string; sentence: string }

/** A rollout as people see it, at one moment. */
export type RolloutView = {
  rollout: Rollout
  from: Deployment
  to: Deployment
  /** Of the traffic, in percent. */
  percent: number
  candidate: ArmView
  baseline: ArmView
  /** Of the last look; null before the first and where nothing is compared. */
  evidence: { errors: EvidenceView | null; latency: EvidenceView | null }
  /** Of the last look: what changes nothing. */
  remarks: string[]
  /** Of the stage's window, and of the whole rollout if it goes well; null while no clock runs, and when the stage is observed for longer. */
  stageLeftSec: number | null
  leftSec: number | null
  history: Decision[]
  /** Null unless it was taken back. */
  reasons: Reasons | null
}

/** What is read of a verdict, as whoever leads wrote it (`Verdict` in rollouts/decide.ts). */
type Verdict = {
  kind: string
  cause?: string
  sentence: string
  numbers: { errors: Reading | null; latency: Reading | null }
  remarks: string[]
}
type Reading = { lnEvidence: number; lnBar: number; isMaterial: boolean }

type Row = Rollout & {
  percent: number | null
  verdict: Verdict | null
  activeSec: number
  sinceTickSec: number | null
  refusedReports: number
}

const shownDecisions = 200

/**
 * Of every app's production, or of one app's, the rollout that there is something to say of: the one under way, or one that was taken back and after which
 * nothing else came out.
 */
export async function readRolloutsToShow(sql: Db, apps: string[] | null): Promise<RolloutView[]> {
  const found = await findRolloutsToShow(sql, apps)
  const views = await Promise.all(found.map((id) => readRolloutView(sql, id)))
  return views.filter((view) => view !== null)
}

/** The ids of the same. */
export async function findRolloutsToShow(sql: Db, apps: string[] | null): Promise<string[]> {
  const found = await sql<{ id: string }[]>`
    select distinct on (o.route_id) o.id
    from rollouts o
    join routes r on r.id = o.route_id
    join deployments c on c.id = o.to_deployment
    where (${apps}::text[] is null or r.app_id = any(${apps}))
      and r.environment = 'production'
      and (o.ended_at is null or o.state = 'aborted' and c.state in ('failed', 'rolled_back'))
      and not exists (
        select from deployments d
        where d.route_id = o.route_id
          and d.number > c.number
          and d.traffic_at is not null
      )
    order by o.route_id, o.started_at desc
  `
  return found.map(({ id }) => id)
}

export async function readRolloutView(sql: Db, id: string): Promise<RolloutView | null> {
  const [row] = await sql<Row[]>`
    select o.*, s.percent, extract(epoch from clock_timestamp() - o.ticked_at)::double precision as since_tick_sec
    from rollouts o
    left join rollout_segments s on s.rollout_id = o.id and s.ordinal = o.segment
    where o.id = ${id}
  `
  if (!row) return null
  const [from, to, arms, history] = await Promise.all([
    findDeployment(sql, row.fromDeployment),
    findDeployment(sql, row.toDeployment),
    readArms(sql, row),
    readDecisions(sql, row.toDeployment),
  ])
  if (!from || !to) throw new AppError('INTERNAL', `the rollout ${id} has lost its deployments`)
  const isBack = row.state === 'reverting' || row.state === 'aborted'
  return {
    rollout: row,
    ...{ from, to, ...arms, history },
    percent: isBack ? 0 : (row.percent ?? 0),
    evidence: {
      errors: readEvidence(row.verdict?.numbers.errors),
      latency: readEvidence(row.verdict?.numbers.latency),
    },
    remarks: readRemarks(row),
    ...timeLeft(row),
    reasons: isBack ? await readReasons(sql, id) : null,
  }
}

/** What was decided about the rollouts of a deployment, by verdict or by people, oldest first. */
export async function readDecisions(sql: Db, deploymentId: string): Promise<Decision[]> {
  const newestFirst = await sql<Decision[]>`
    select n.at, n.kind, n.by, n.sentence
    from rollouts o
    join rollout_decisions n on n.rollout_id = o.id
    where o.to_deployment = ${deploymentId}
    order by n.id desc
    limit ${shownDecisions}
  `
  return newestFirst.reverse()
}

type ReportRow = { candidate: number[]; baseline: number[]; candidateLatency: string; baselineLatency: string }

async function readArms(
  sql: Db,
  { id, segment }: Pick<Rollout, 'id' | 'segment'>,
): Promise<{ candidate: ArmView; baseline: ArmView }> {
  const rows = await sql<ReportRow[]>`
    select to_jsonb(k.candidate) as candidate, to_jsonb(k.baseline) as baseline, k.candidate_latency, k.baseline_latency
    from rollout_reports k
    join rollout_segments s on s.rollout_id = k.rollout_id and s.ordinal = k.segment
    where k.rollout_id = ${id}
      and s.stage = (select stage from rollout_segments where rollout_id = ${id} and ordinal = ${segment})
  `
  return {
    candidate: sumArm(
      rows.map(({ candidate, candidateLatency }) => ({ counts: candidate, latency: candidateLatency })),
    ),
    baseline: sumArm(rows.map(({ baseline, baselineLatency }) => ({ counts: baseline, latency: baselineLatency }))),
  }
}

// Of many processes: counts add up, and so do the buckets of histograms. Percentiles do not.
function sumArm(told: { counts: number[]; latency: string }[]): ArmView {
  const merged = new LatencyHistogram()
  for (const { latency } of told) merged.merge(LatencyHistogram.parse(latency))
  const sum = (name: keyof ReportedCounts) =>
    told.reduce((total, { counts }) => total + Number(counts[countNames.indexOf(name)] ?? 0), 0)
  return {
    requests: sum('requests'),
    errors: sum('errorRequests'),
    refused: sum('refusedRequests'),
    p50Ms: merged.quantile(0.5),
    p95Ms: merged.quantile(0.95),
  }
}

// The sentence of one that is paused is the person's; that both versions fail is said beside it.
function readRemarks({ state, verdict, refusedReports }: Row): string[] {
  const refused = refusedReports === 0 ? [] : [describeRefused(refusedReports)]
  if (!verdict) return refused
  const isGuarded = state === 'paused' && verdict.kind === 'hold' && verdict.cause === 'guard'
  return [...(isGuarded ? [verdict.sentence] : []), ...verdict.remarks, ...refused]
}

function describeRefused(reports: number): string {
  if (reports === 1) return 'a report of an edge was not counted, for what it says cannot be'
  return `${reports} reports of edges were not counted, for what they say cannot be`
}

function readEvidence(reading: Reading | null | undefined): EvidenceView | null {
  if (!reading) return null
  const { lnEvidence, lnBar, isMaterial } = reading
  return { evidence: formatEvidence(lnEvidence), bar: formatEvidence(lnBar), lnEvidence, lnBar, isMaterial }
}

// A rollout that nobody looks at for a while stands still.
const lookedAtWithinSec = 6

function timeLeft(row: Row): { stageLeftSec: number | null; leftSec: number | null } {
  const { state, policy, activeSec, percent, sinceTickSec, verdict } = row
  // One that is observed for longer goes on when the requests are there.
  if (state !== 'observing' || percent === null || verdict?.kind === 'extend')
    return { stageLeftSec: null, leftSec: null }
  const windowSec = policy.observationWindowSec
  const since = sinceTickSec !== null && sinceTickSec < lookedAtWithinSec ? sinceTickSec : 0
  const stageLeftSec = Math.max(0, windowSec - activeSec - since)
  const further = policy.stages.filter((stage) => stage > percent).length
  return { stageLeftSec, leftSec: stageLeftSec + further * windowSec }
}
