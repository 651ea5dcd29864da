import { type Deployment, moveDeployment } from './deployments.ts'
import { type EdgeReport, readPreparation } from './edges.ts'
import { lockWithRoute, nameOf, putLive, type Release } from './live.ts'
import { insertRollout, readRolloutPolicy } from './rollout.ts'
import { endOpenRollout } from './rollout-ends.ts'
import type { RolloutPolicy } from './rollout-policy.ts'
import { channels } from './routes.ts'
import type { Db, Sql } from './sql.ts'
import { Wakeup } from './wakeup.ts'

export type Preparation = { ready: EdgeReport[]; failed: EdgeReport[]; waitingFor: number }

/** Asks every edge to load the deployment, start its host and check it. */
export async function requestPrepare(sql: Db, deploymentId: string): Promise<void> {
  await sql`
    update deployments
    set prepare_requested_at = clock_timestamp()
    where id = ${deploymentId}
  `
}

/**
 * Waits until every edge with a live lease has answered, or `timeoutMs` has passed. With no edge at all it goes on waiting for one:
 * an edge that restarts is back within a second. A sick edge vetoes nothing: the caller looks at `ready` first.
 */
export async function awaitPrepared(
  sql: Sql,
  deploymentId: string,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<Preparation> {
  await using wakeup = await Wakeup.on(sql, [channels.edgeReports], (payload) => payload === deploymentId)
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const { reports, waitingFor } = await readPreparation(sql, deploymentId)
    const preparation = {
      ready: reports.filter(({ ready }) => ready),
      failed: reports.filter(({ ready }) => !ready),
      waitingFor,
    }
    const remaining = deadline - performance.now()
    const isSettled = waitingFor === 0 && reports.length > 0
    if (isSettled || remaining <= 0 || signal?.aborted) return preparation
    await wakeup.next({ timeoutMs: Math.min(remaining, 1000), signal })
  }
}

/** Marks the deployment as ready on the edges: what is left is the ref (for a push) and the flip. False: the attempt was fenced off. */
export async function markPrepared(sql: Db, claim: { id: string; attempt: number }): Promise<boolean> {
  const marked = await sql`
    update deployments
    set prepared_at = clock_timestamp()
    where id = ${claim.id}
      and attempt = ${claim.attempt}
      and state = 'uploading'
    returning id
  `
  return marked.length === 1
}

/**
 * Puts a prepared deployment before its users, in one transaction: as the candidate of a rollout, which begins at 0 % and is led from there on, or
 * all at once where there is nothing to compare with or nobody wants to (`readRolloutPolicy`). Idempotent: one that is out already is returned as
 * it is. Null: it is not prepared, or no longer on its way.
 */
export async function bringOut(sql: Sql, deploymentId: string, release: Release): Promise<Deployment | null> {
  return releaseBy(sql, deploymentId, release, readRolloutPolicy)
}

/** The same, always all at once: the live one is superseded and this one is live. */
export async function goLive(sql: Sql, deploymentId: string, release: Release): Promise<Deployment | null> {
  return releaseBy(sql, deploymentId, release, async () => null)
}

async function releaseBy(
  sql: Sql,
  deploymentId: string,
  { config, by }: Release,
  choosePolicy: (tx: Db, deployment: Deployment) => Promise<RolloutPolicy | null>,
): Promise<Deployment | null> {
  return sql.begin(async (tx) => {
    const deployment = await lockWithRoute(tx, deploymentId)
    if (!deployment?.routeId) return null
    if (deployment.state === 'live' || deployment.state === 'canary') return deployment
    if (deployment.state !== 'uploading' || !deployment.preparedAt) return null

    await endOpenRollout(tx, deployment, { to: 'cancelled', by, reason: `replaced by ${nameOf(deployment)}` })
    const policy = await choosePolicy(tx, deployment)
    if (!policy) return putLive(tx, deployment, { config, by })
    await insertRollout(tx, deployment, { policy, by })
    return moveDeployment(tx, deployment.id, { from: 'uploading', to: 'canary', by })
  })
}
