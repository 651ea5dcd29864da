import { createApp } from '../../registry/apps.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import { claimBuild, recordBuild } from '../../registry/claims.ts'
import { readConfig } from '../../registry/config.ts'
import { createDeployment, type Deployment, moveDeployment } from '../../registry/deployments.ts'
import { renewLease, reportRoutesSeen } from '../../registry/edges.ts'
import { newId } from '../../registry/ids.ts'
import { LatencyHistogram } from '../../registry/latency-histogram.ts'
import { lockWithRoute } from '../../registry/live.ts'
import { bringOut, markPrepared } from '../../registry/release.ts'
import { findOpenRollout, type Rollout } from '../../registry/rollout.ts'
import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import { type Arm, type ReportedCounts, type RolloutReport, reportRollout } from '../../registry/rollout-reports.ts'
import { reportBins } from '../../registry/route-bins.ts'
import { readRoutesSeen } from '../../registry/routes.ts'
import type { Sql } from '../../registry/sql.ts'

export const config = readConfig({ ATELIER_HOME: '/nowhere' })

/** An app with a live version. */
export async function liveApp(sql: Sql): Promise<{ app: string; live: Deployment }> {
  const app = newId()
  await createApp(sql, { id: app, by: 'ada' })
  return { app, live: await bring(sql, app) }
}

/** A new version is brought out as a build worker would; without `policy` by the default one. */
export async function bring(sql: Sql, app: string, policy: RolloutPolicy | 'skip' | null = null): Promise<Deployment> {
  const target = targetOfBranch({ id: app, productionBranch: 'main' }, 'main')
  const { id } = await createDeployment(sql, { app, target, version: nextVersion(), source: 'upload', by: 'ada' })
  const claim = await claimBuild(sql, id, 'w')
  if (!claim) throw new Error('not claimed')
  await moveDeployment(sql, id, { from: 'building', to: 'built', by: 'w' })
  await moveDeployment(sql, id, { from: 'built', to: 'uploading', by: 'w' })
  const build = newId()
  await recordBuild(sql, claim, {
    ...{ id: build, kind: 'static', framework: 'static', manifestKey: 'k', manifestSha256: 'x', publicEnvHash: '' },
    ...{ bundleSize: 1, durationMs: 1 },
  })
  if (policy) await sql`update builds set rollout_policy = ${sql.json(policy)} where id = ${build}`
  await markPrepared(sql, claim)
  const out = await bringOut(sql, id, { config, by: 'ada' })
  if (!out) throw new Error('not brought out')
  return out
}

let versions = 0
const nextVersion = () => `1.0.${++versions}`

/** The rollout of this deployment's route. */
export async function rolloutOf(sql: Sql, { id }: Pick<Deployment, 'id'>): Promise<Rollout> {
  const rollout = await sql.begin(async (tx) => {
    const deployment = await lockWithRoute(tx, id)
    return deployment?.routeId ? findOpenRollout(tx, deployment.routeId) : null
  })
  if (!rollout) throw new Error('no rollout')
  return rollout
}

const none: ReportedCounts = {
  ...{ requests: 0, tosses: 0, errorRequests: 0, errorUnits: 0 },
  ...{ timedRequests: 0, slowUnits: 0, tooSlowRequests: 0, refusedRequests: 0 },
}

/** Of one arm in one segment. `ms`: what each timed request took. */
export function counted(
  segment: number,
  arm: Arm,
  counts: Partial<ReportedCounts>,
  ms: number[] = [],
): RolloutReport['segments'][number] {
  const latency = new LatencyHistogram()
  for (const one of ms) latency.add(one)
  return { segment, arm, counts: { ...none, ...counts }, latency }
}

export function reportOf(
  rollout: Pick<Rollout, 'id'>,
  seq: number,
  { bootId = 'boot', ...report }: Partial<RolloutReport> = {},
): RolloutReport {
  return {
    rolloutId: rollout.id,
    bootId,
    seq,
    segments: [counted(0, 'candidate', {})],
    units: [],
    failingPaths: [],
    ...report,
  }
}

/** Proxies that a test plays: they renew their leases, follow the routes and report what it says. */
export class PlayedEdges {
  readonly ids: readonly string[]
  readonly #sql: Sql
  #seq = 0

  constructor(sql: Sql, ids: readonly string[]) {
    this.#sql = sql
    this.ids = ids
  }

  /** Those that can be reached go by the routes as they are now. */
  async follow(ids: readonly string[] = this.ids): Promise<void> {
    const { snapshot } = await readRoutesSeen(this.#sql)
    for (const id of ids) {
      await renewLease(this.#sql, id)
      if (snapshot !== null) await reportRoutesSeen(this.#sql, id, snapshot)
    }
  }

  /** Cumulative counts of one segment, by edge. Throws when any is refused. */
  async report(rollout: Pick<Rollout, 'id'>, segments: RolloutReport['segments'], ids = this.ids): Promise<void> {
    this.#seq += 1
    for (const id of ids) {
      const refused = await reportRollout(this.#sql, id, [reportOf(rollout, this.#seq, { segments })])
      if (refused.length > 0) throw new Error(refused[0]?.reason)
    }
  }
}

/** Half an hour in which the live version had so many requests every ten seconds at each edge, 10 to 100 ms each. */
export async function insertHistory(
  sql: Sql,
  live: Deployment,
  { edges, requests, errors = 0 }: { edges: readonly string[]; requests: number; errors?: number },
): Promise<void> {
  const latency = new LatencyHistogram()
  for (let request = 0; request < requests; request += 1) latency.add(10 + (90 * request) / requests)
  const now = Math.floor(Date.now() / 10_000) * 10_000
  const at = Array.from({ length: 170 }, (_, index) => now - (index + 1) * 10_000)
  for (const edge of edges) {
    await renewLease(sql, edge)
    const bin = { routeId: live.routeId ?? '', deploymentId: live.id, bootId: 'before', requests, errors, latency }
    const refused = await reportBins(
      sql,
      edge,
      at.map((one, turn) => ({ ...bin, turn, beganAt: performance.now() - (Date.now() - one) })),
    )
    if (refused.length > 0) throw new Error(refused[0]?.reason)
  }
}

/** So many seconds pass for a rollout, in which it was looked at. */
export async function letPass(sql: Sql, { id }: Pick<Rollout, 'id'>, sec: number): Promise<void> {
  const earlier = sql`make_interval(secs => ${sec})`
  await sql`
    update rollouts
    set active_sec = case when state = 'paused' then active_sec else active_sec + ${sec} end,
        guard_watch_since = guard_watch_since - ${earlier},
        guard_held_since = guard_held_since - ${earlier},
        uncovered_since = uncovered_since - ${earlier},
        probe_asked_at = probe_asked_at - ${earlier}
    where id = ${id}
  `
  await sql`update rollout_segments set opened_at = opened_at - ${earlier} where rollout_id = ${id}`
}
