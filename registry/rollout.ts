import type { Deployment } from './deployments.ts'
import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import type { RolloutPolicy } from './rollout-policy.ts'
import { defaultRolloutPolicy, rolloutPolicy } from './rollout-policy.ts'
import type { Db } from './sql.ts'

// What a rollout is in the database, and each way it moves. The verdicts come from rollouts/; people move it too, and so does a newer push.

export type RolloutState = 'observing' | 'held' | 'paused' | 'reverting' | 'done' | 'aborted'

/** How sure the stage in force was reached: on evidence, on little of it, on probes alone, or because somebody said so. */
export type Confidence = 'full' | 'low' | 'unverified' | 'by hand'

export type Rollout = {
  id: string
  routeId: string
  appId: string
  fromDeployment: string
  toDeployment: string
  state: RolloutState
  policy: RolloutPolicy
  /** Ordinal of the segment in force; -1: no visitor has been sent to the new deployment yet. */
  segment: number
  revision: number
  sentence: string | null
  confidence: Confidence | null
  /** Since when both versions together fail more than is tolerated; null: they do not. */
  guardHeldSince: Date | null
  by: string
  startedAt: Date
  endedAt: Date | null
}

/** What edges count by: the segment in force. */
export type RoutedRollout = {
  id: string
  /** Ordinals. A stage may have several segments; its warm-up comes once. */
  stage: number
  segment: number
  /** The old deployment and the new one. */
  from: string
  to: string
  /** τ and τ′ in ms to the first byte; null: latency is not looked at. */
  slowMs: number | null
  tooSlowMs: number | null
  warmupSec: number
}

export type NewSegment = {
  opens: 'stage' | 'half' | 'guard'
  percent: number
  slowMs: number | null
  tooSlowMs: number | null
  by: string
}

/** The rollout of a route that has not ended, locked with the route by the caller. */
export async function findOpenRollout(sql: Db, routeId: string): Promise<Rollout | null> {
  const [open] = await sql<Rollout[]>`
    select *
    from rollouts
    where route_id = ${routeId}
      and ended_at is null
  `
  return open ?? null
}

/**
 * How the deployment is to be rolled out, or null: all at once, because it is a preview, the first one, or was told to (`canary: 'skip'`).
 */
export async function readRolloutPolicy(sql: Db, deployment: Deployment): Promise<RolloutPolicy | null> {
  if (deployment.environment !== 'production' || deployment.options.canary === 'skip') return null
  const [row] = await sql<{ policy: unknown }[]>`
    select b.rollout_policy as policy
    from routes r
    join builds b on b.id = ${deployment.buildId}
    where r.id = ${deployment.routeId}
      and r.live_deployment is not null
      and r.live_deployment <> ${deployment.id}
  `
  if (!row || row.policy === 'skip') return null
  // A build of an older platform knows nothing of what has been added since.
  return row.policy === null ? defaultRolloutPolicy : rolloutPolicy.parse(row.policy)
}

/**
 * Begins a rollout at 0 %: the deployment is the route's candidate, and whoever leads takes the first step. The caller holds the route's
 * row, and has ended the rollout before.
 */
export async function insertRollout(
  tx: Db,
  deployment: Deployment,
  { policy, by }: { policy: RolloutPolicy; by: string },
): Promise<void> {
  await tx`
    update routes
    set candidate_deployment = ${deployment.id},
        weight = 0,
        generation = generation + 1,
        updated_at = now()
    where id = ${deployment.routeId}
  `
  await tx`
    insert into rollouts (id, route_id, app_id, from_deployment, to_deployment, policy, by)
    select ${newId()}, r.id, r.app_id, r.live_deployment, ${deployment.id}, ${tx.json(policy)}, ${by}
    from routes r
    where r.id = ${deployment.routeId}
  `
}

/**
 * The next segment of a rollout, and the weight with it; below 100 %, for there the deployment goes live (`completeRollout` in release.ts).
 * The caller holds the route's row. Edges are told by the route's generation.
 */
export async function openSegment(tx: Db, rollout: Rollout, segment: NewSegment): Promise<void> {
  const { opens, percent, slowMs, tooSlowMs, by } = segment
  const ordinal = rollout.segment + 1
  await tx`
    insert into rollout_segments (rollout_id, ordinal, stage, opens, percent, slow_ms, too_slow_ms, by)
    select ${rollout.id}, ${ordinal}, coalesce(max(stage), -1) + ${opens === 'stage' ? 1 : 0}, ${opens}, ${percent}, ${slowMs}, ${tooSlowMs}, ${by}
    from rollout_segments
    where rollout_id = ${rollout.id}
  `
  await tx`
    update rollouts
    set segment = ${ordinal},
        revision = revision + 1
    where id = ${rollout.id}
  `
  await tx`
    update deployments
    set traffic_at = coalesce(traffic_at, clock_timestamp())
    where id = ${rollout.toDeployment}
  `
  await tx`
    update routes
    set weight = case when candidate_deployment is null then 0 else ${percent} end,
        generation = generation + 1,
        updated_at = now()
    where id = ${rollout.routeId}
  `
}

/**
 * Ends an open rollout: nothing more is counted, and nobody decides about it any more. One that is `done` leaves its route as it is, and edges are told
 * that there is nothing to count and nobody to keep warm; else the caller sees to the route and to the deployment, and holds the route's row.
 */
export async function endRollout(
  tx: Db,
  rollout: Pick<Rollout, 'id' | 'routeId'>,
  {
    state,
    sentence,
    by,
    verdict = null,
  }: { state: 'reverting' | 'done' | 'aborted'; sentence: string; by: string; verdict?: object | null },
): Promise<void> {
  await tx`
    update rollouts
    set state = ${state},
        sentence = ${sentence},
        ended_at = case when ${state} = 'reverting' then null else clock_timestamp() end,
        revision = revision + 1
    where id = ${rollout.id}
  `
  if (state === 'done')
    await tx`
      update routes
      set generation = generation + 1,
          updated_at = now()
      where id = ${rollout.routeId}
    `
  await recordDecision(tx, rollout, { kind: state, sentence, by, verdict })
}

/** A line of the rollout's history, with the numbers it rests on. */
export async function recordDecision(
  tx: Db,
  rollout: Pick<Rollout, 'id'>,
  { kind, sentence, by, verdict = null }: { kind: string; sentence: string; by: string; verdict?: object | null },
): Promise<void> {
  await tx`
    insert into rollout_decisions (rollout_id, kind, by, sentence, verdict)
    values (${rollout.id}, ${kind}, ${by}, ${sentence}, ${verdict === null ? null : tx.json(JSON.parse(JSON.stringify(verdict)))})
  `
}

/** Throws NO_ROLLOUT when there is none, or it is over but for the edges. */
export function refuseIfEnded(rollout: Rollout | null, app: string): asserts rollout is Rollout {
  if (!rollout || rollout.endedAt !== null || rollout.state === 'reverting')
    throw new AppError('NO_ROLLOUT', `${app} has no rollout under way; see: atelier status`)
}
