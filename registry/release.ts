import { appendBuildLog, formatSeconds, stepLine } from './build-logs.ts'
import { appUrl, type Config } from './config.ts'
import { type Deployment, findDeployment } from './deployments.ts'
import { type EdgeReport, readPreparation } from './edges.ts'
import { AppError } from './errors.ts'
import { channels } from './routes.ts'
import type { Db, Sql } from './sql.ts'
import { shortVersion } from './version.ts'
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
 * Puts a prepared deployment before its users, in one transaction: the live one is superseded, this one is live, the route points at it
 * with the next generation, and the closing lines are in its log. Idempotent: a deployment that is live already is returned as it is.
 * Null: it is not prepared, or no longer on its way.
 */
export async function goLive(
  sql: Sql,
  deploymentId: string,
  { config, by }: { config: Config; by: string },
): Promise<Deployment | null> {
  return sql.begin(async (tx) => {
    const deployment = await lockWithRoute(tx, deploymentId)
    if (!deployment?.routeId) return null
    if (deployment.state === 'live') return deployment
    if (deployment.state !== 'uploading' || !deployment.preparedAt) return null

    const previous = await replaceLive(tx, deployment, {
      to: 'superseded',
      by,
      reason: `replaced by ${nameOf(deployment)}`,
    })
    const live = await setLive(tx, deployment, { by, reason: null })
    await appendBuildLog(tx, deployment.id, closingLines(live, previous, config))
    return live
  })
}

/** Tears a preview down: its open deployments are cancelled, its live one ends `removed`, its address is gone. False: there was none. */
export async function removePreview(
  sql: Sql,
  { app, branch, by }: { app: string; branch: string; by: string },
): Promise<boolean> {
  return sql.begin(async (tx) => {
    const [route] = await tx<{ id: string }[]>`
      select id
      from routes
      where app_id = ${app}
        and branch = ${branch}
        and environment = 'preview'
      for update
    `
    if (!route) return false
    await tx`
      update deployments
      set state = case when state in ('queued', 'building', 'built', 'uploading', 'canary') then 'cancelled' else 'removed' end,
          state_by = ${by},
          state_reason = ${`the branch ${branch} was deleted`}
      where route_id = ${route.id}
        and state not in ('failed', 'cancelled', 'removed')
    `
    await tx`delete from routes where id = ${route.id}`
    return true
  })
}

export async function findLive(sql: Db, app: string): Promise<Deployment | null> {
  const [live] = await sql<Deployment[]>`
    select *
    from deployments
    where app_id = ${app}
      and environment = 'production'
      and state = 'live'
  `
  return live ?? null
}

// The route's row is the lock under which everything about who is live changes.
export async function lockWithRoute(tx: Db, deploymentId: string): Promise<Deployment | null> {
  await tx`
    select r.id
    from routes r
    join deployments d on d.route_id = r.id
    where d.id = ${deploymentId}
    for update of r
  `
  return findDeployment(tx, deploymentId)
}

export async function replaceLive(
  tx: Db,
  next: Deployment,
  { to, by, reason }: { to: 'superseded' | 'rolled_back'; by: string; reason: string },
): Promise<Deployment | null> {
  const [previous] = await tx<Deployment[]>`
    update deployments
    set state = case when number < ${next.number} then 'superseded' else ${to} end,
        state_by = ${by},
        state_reason = ${reason}
    where route_id = ${next.routeId}
      and state = 'live'
    returning *
  `
  return previous ?? null
}

export async function setLive(
  tx: Db,
  next: Deployment,
  { by, reason }: { by: string; reason: string | null },
): Promise<Deployment> {
  const [live] = await tx<Deployment[]>`
    update deployments
    set state = 'live',
        state_by = ${by},
        state_reason = ${reason},
        live_at = coalesce(live_at, clock_timestamp())
    where id = ${next.id}
    returning *
  `
  if (!live) throw new AppError('INTERNAL', `deployment ${next.id} vanished under its lock`)
  await tx`
    update routes
    set live_deployment = ${next.id},
        candidate_deployment = null,
        weight = 0,
        generation = generation + 1,
        updated_at = now()
    where id = ${next.routeId}
  `
  return live
}

function closingLines(live: Deployment, previous: Deployment | null, config: Config): string[] {
  const took = Date.now() - live.createdAt.getTime()
  const last = previous?.liveAt
    ? `, last time ${formatSeconds(previous.liveAt.getTime() - previous.createdAt.getTime())}`
    : ''
  const lines = [
    `${stepLine('Live', appUrl(config, live.label), null).padEnd(63)} ${formatSeconds(took)} in all${last}`,
  ]
  if (previous && live.environment === 'production') {
    // The same version may be deployed twice in a row, with other variables: then only the number names the one before.
    const name = previous.version === live.version ? `v${previous.number}` : shortVersion(previous.version)
    lines.push(`       back: atelier rollback ${name}`)
  }
  return lines
}

/** As people call it: `3f2a91c (v17)`. */
export function nameOf(deployment: Deployment): string {
  return `${shortVersion(deployment.version)} (v${deployment.number})`
}
