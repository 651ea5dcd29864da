import { appendBuildLog, formatSeconds, stepLine } from './build-logs.ts'
import { appUrl, type Config } from './config.ts'
import { type Deployment, findDeployment } from './deployments.ts'
import { AppError } from './errors.ts'
import type { Db } from './sql.ts'
import { shortVersion } from './version.ts'

// Who is live on a route, under the lock of its row.

export type Release = { config: Config; by: string }

/** The live one is superseded, this one is live, and the closing lines are in its log. */
export async function putLive(tx: Db, deployment: Deployment, { config, by }: Release): Promise<Deployment> {
  const previous = await replaceLive(tx, deployment, {
    to: 'superseded',
    by,
    reason: `replaced by ${nameOf(deployment)}`,
  })
  const live = await setLive(tx, deployment, { by, reason: null })
  await appendBuildLog(tx, deployment.id, closingLines(live, previous, config))
  return live
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
        live_at = coalesce(live_at, clock_timestamp()),
        traffic_at = coalesce(traffic_at, clock_timestamp())
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
