import { awaitRouteSeen } from '../../registry/edges.ts'
import { lockWithRoute } from '../../registry/live.ts'
import { bringOut } from '../../registry/release.ts'
import { findOpenRollout, type NewSegment, openSegment } from '../../registry/rollout.ts'
import { completeRollout } from '../../registry/rollout-ends.ts'
import { type Arm, countNames, type ReportedCounts } from '../../registry/rollout-reports.ts'
import type { TestBundle, TestEdge } from './edge.ts'

export type Counted = Record<Arm, ReportedCounts & { badErrors: number; badLatency: number }>
type Step = Partial<Pick<NewSegment, 'opens' | 'slowMs' | 'tooSlowMs'>> & { percent: number }

/** A rollout whose stages a test sets, with what the edge tells of it. */
export class TestRollout {
  readonly edge: TestEdge
  readonly id: string
  readonly routeId: string
  readonly deploymentId: string
  readonly version: string

  /** Puts a bundle beside what is live, without a warm-up, and returns when the edge goes by it. */
  static async begin(edge: TestEdge, app: string, bundle: TestBundle, step: Step): Promise<TestRollout> {
    const { id, version } = await edge.prepare(app, bundle)
    const out = await bringOut(edge.sql, id, { config: edge.config, by: 'test' })
    const open = out?.routeId ? await findOpenRollout(edge.sql, out.routeId) : null
    if (!open) throw new Error(`${app} has no rollout`)
    await edge.sql`
      update rollouts
      set policy = jsonb_set(policy, '{autoRollback,warmupSec}', '0')
      where id = ${open.id}
    `
    const rollout = new TestRollout(edge, { ...open, deploymentId: id, version })
    await rollout.step(step)
    return rollout
  }

  private constructor(
    edge: TestEdge,
    { id, routeId, deploymentId, version }: { id: string; routeId: string; deploymentId: string; version: string },
  ) {
    this.edge = edge
    this.id = id
    this.routeId = routeId
    this.deploymentId = deploymentId
    this.version = version
  }

  /** Opens the next segment, and returns when the edge goes by it. */
  async step({ opens = 'stage', percent, slowMs = null, tooSlowMs = slowMs }: Step): Promise<void> {
    const { sql, config } = this.edge
    await sql.begin(async (tx) => {
      await lockWithRoute(tx, this.deploymentId)
      const open = await findOpenRollout(tx, this.routeId)
      if (!open) throw new Error('the rollout has ended')
      if (percent < 100) await openSegment(tx, open, { opens, percent, slowMs, tooSlowMs, by: 'test' })
      else await completeRollout(tx, open, { config, by: 'test', slowMs, tooSlowMs })
    })
    if (!(await awaitRouteSeen(sql, this.deploymentId, { timeoutMs: 20_000 })))
      throw new Error('the edge did not follow')
  }

  /** What all edge processes have told, of one segment or of all. */
  async counted(segment: number | null = null): Promise<Counted> {
    const { sql } = this.edge
    const rows = await sql<{ candidate: number[]; baseline: number[] }[]>`
      select to_jsonb(candidate) as candidate, to_jsonb(baseline) as baseline
      from rollout_reports
      where rollout_id = ${this.id}
        and segment = coalesce(${segment}, segment)
    `
    const units = await sql<{ arm: Arm; metric: 'errors' | 'latency' }[]>`
      select arm, metric
      from rollout_bad_units
      where rollout_id = ${this.id}
        and segment = coalesce(${segment}, segment)
    `
    const sum = (arm: Arm) => {
      const counts = countNames.map((name, at) => [name, rows.reduce((all, row) => all + (row[arm][at] ?? 0), 0)])
      const bad = (metric: string) => units.filter((unit) => unit.arm === arm && unit.metric === metric).length
      return { ...Object.fromEntries(counts), badErrors: bad('errors'), badLatency: bad('latency') }
    }
    return { candidate: sum('candidate'), baseline: sum('baseline') }
  }
}
