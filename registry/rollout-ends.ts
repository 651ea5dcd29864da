import { holdAutomaticDoors } from './app-locks.ts'
import { appendBuildLog, stepLine } from './build-logs.ts'
import { type Deployment, findDeployment, moveDeployment } from './deployments.ts'
import { AppError, type ErrorCode } from './errors.ts'
import { nameOf, putLive, type Release, setLive } from './live.ts'
import { keepReasons, takenBack } from './rollback-reasons.ts'
import { endRollout, findOpenRollout, type NewSegment, openSegment, type Rollout } from './rollout.ts'
import type { Db } from './sql.ts'

// The three ways a rollout ends: at 100 %, back at the old deployment, or because something else takes its route.

/**
 * The last stage of a rollout, in one transaction with the caller's: the new deployment is live and the old one superseded, though kept warm; the
 * segment at 100 % is watched for one window more. The caller holds the route's row.
 */
export async function completeRollout(
  tx: Db,
  rollout: Rollout,
  { config, by, slowMs, tooSlowMs }: Release & Pick<NewSegment, 'slowMs' | 'tooSlowMs'>,
): Promise<Deployment> {
  const candidate = await findDeployment(tx, rollout.toDeployment)
  if (!candidate) throw new AppError('INTERNAL', `the rollout ${rollout.id} has lost its deployment`)
  const live = candidate.state === 'live' ? candidate : await putLive(tx, candidate, { config, by })
  await openSegment(tx, rollout, { opens: 'stage', percent: 100, slowMs, tooSlowMs, by })
  return live
}

/**
 * Back to the old deployment, in one transaction with the caller's: no visitor is sent to the new one any more, which ends `failed` (a verdict),
 * or `rolled_back` (a person). The rollout is `reverting` until the edges have followed. The caller holds the
 * route's row.
 */
export async function revertRollout(
  tx: Db,
  rollout: Rollout,
  {
    to,
    by,
    sentence,
    errorCode = null,
    verdict = null,
  }: {
    to: 'failed' | 'rolled_back'
    by: string
    sentence: string
    errorCode?: ErrorCode | null
    verdict?: object | null
  },
): Promise<void> {
  const candidate = await findDeployment(tx, rollout.toDeployment)
  const isLive = candidate?.state === 'live'
  if (candidate && (isLive || candidate.state === 'canary')) {
    const from = candidate.state
    await moveDeployment(tx, candidate.id, {
      from,
      to,
      by,
      reason: sentence,
      errorCode,
    })
    await appendBuildLog(tx, candidate.id, [
      stepLine('Canary', to === 'failed' ? `taken back: ${sentence}` : sentence, null),
    ])
  }
  if (candidate)
    await holdAutomaticDoors(tx, {
      app: rollout.appId,
      message: takenBack(nameOf(candidate), sentence),
      by,
    })
  const old = isLive ? await findDeployment(tx, rollout.fromDeployment) : null
  if (old) await setLive(tx, old, { by, reason: sentence })
  else
    await tx`
      update routes
      set candidate_deployment = null,
          weight = 0,
          generation = generation + 1,
          updated_at = now()
      where id = ${rollout.routeId}
    `
  await endRollout(tx, rollout, { state: 'reverting', sentence, by, verdict })
}

/** The last step of a way back, when the edges have followed or something else takes the route: why it came to that is kept. */
export async function endReverted(tx: Db, rollout: Rollout, by: string): Promise<void> {
  await keepReasons(tx, rollout)
  await endRollout(tx, rollout, { state: 'aborted', sentence: rollout.sentence ?? '', by })
}

/** Makes way on a route: a rollout that is under way is over, and its candidate ends as `to`. The caller holds the route's row. */
export async function endOpenRollout(
  tx: Db,
  next: Pick<Deployment, 'id' | 'routeId'>,
  { to, by, reason }: { to: 'rolled_back' | 'cancelled'; by: string; reason: string },
): Promise<Deployment | null> {
  const open = next.routeId === null ? null : await findOpenRollout(tx, next.routeId)
  if (!open || open.toDeployment === next.id) return null
  if (open.state === 'reverting') {
    // It was over but for the edges: what it was taken back for stays the reason.
    await endReverted(tx, open, by)
    return null
  }
  const candidate = await moveDeployment(tx, open.toDeployment, { from: 'canary', to, by, reason })
  // At 100 % nothing is left but the watch, which a newer push ends well.
  const state = candidate || to === 'rolled_back' ? 'aborted' : 'done'
  await endRollout(tx, open, { state, sentence: reason, by })
  return candidate
}
