import { createApp } from '../../registry/apps.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import { claimBuild, recordBuild } from '../../registry/claims.ts'
import { readConfig } from '../../registry/config.ts'
import { createDeployment, type Deployment, moveDeployment } from '../../registry/deployments.ts'
import { newId } from '../../registry/ids.ts'
import { LatencyHistogram } from '../../registry/latency-histogram.ts'
import { lockWithRoute } from '../../registry/live.ts'
import { bringOut, markPrepared } from '../../registry/release.ts'
import { findOpenRollout, type Rollout } from '../../registry/rollout.ts'
import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { Arm, ReportedCounts, RolloutReport } from '../../registry/rollout-reports.ts'
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
  return { rolloutId: rollout.id, bootId, seq, segments: [], units: [], failingPaths: [], ...report }
}
