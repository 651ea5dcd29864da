import { holdAutomaticDoors } from './app-locks.ts'
import { type Deployment, findByVersion, findDeployment } from './deployments.ts'
import { awaitRouteSeen } from './edges.ts'
import { AppError } from './errors.ts'
import { holdBuild } from './holds.ts'
import { findLive, lockWithRoute, nameOf, replaceLive, setLive } from './live.ts'
import { awaitPrepared, requestPrepare } from './release.ts'
import { findOpenRollout } from './rollout.ts'
import { endOpenRollout, revertRollout } from './rollout-ends.ts'
import type { Db, Sql } from './sql.ts'
import { shortVersion } from './version.ts'

export type Rollback = { live: Deployment; previous: Deployment }

/**
 * The deployment a rollback would go to: the named version; without a name the old one of the rollout under way, or else the newest one before
 * the live one that was live and was not itself rolled back. Throws VERSION_NOT_FOUND, VERSION_PRUNED, DEPLOYMENT_STATE, and without a name
 * ALREADY_BACK when the newest version was taken back already: who types that a moment after a verdict means the bad version, not the good one.
 */
export async function findRollbackTarget(sql: Db, app: string, version: string | null): Promise<Deployment> {
  const live = await findLive(sql, app)
  if (!live)
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${app} has nothing live to roll back from; deploy it first: git push atelier main`,
    )
  const target = version === null ? await findBefore(sql, live) : await findNamed(sql, app, version, live)

  await refuseIfPruned(sql, target)
  return target
}

/** Throws VERSION_PRUNED when the deployment's bundle is no longer kept. */
export async function refuseIfPruned(sql: Db, deployment: Deployment): Promise<void> {
  if (!(await holdBuild(sql, deployment.buildId))) throw pruned(deployment)
}

function pruned(deployment: Deployment): AppError {
  const { appId } = deployment
  return new AppError(
    'VERSION_PRUNED',
    `${appId} no longer keeps ${nameOf(deployment)}; kept ones: atelier deploys --app ${appId}; or push that commit again`,
  )
}

const prepareForMs = 1000

/**
 * Has the edges start the target's host first, so that no visitor waits for it, and then rolls back: when all of them have answered, whatever
 * they say, or after a second. A rollback waits on no vote.
 */
export async function prepareAndRollBack(
  sql: Sql,
  target: Deployment,
  call: { by: string; reason?: string },
): Promise<Rollback> {
  if (target.state !== 'live') {
    await requestPrepare(sql, target.id)
    await awaitPrepared(sql, target.id, { timeoutMs: prepareForMs })
  }
  const moved = await rollBack(sql, target, call)
  await awaitRouteSeen(sql, target.id)
  return moved
}

/**
 * One write: the target is live, what was live is `rolled_back`, or `superseded` when the move was forward again, so that the next rollback
 * finds it. The edges flip on the notification. Repeating it changes nothing. Throws VERSION_PRUNED when its bundle was thrown away meanwhile.
 */
export async function rollBack(
  sql: Sql,
  target: Deployment,
  { by, reason = 'rollback' }: { by: string; reason?: string },
): Promise<Rollback> {
  return sql.begin(async (tx) => {
    const deployment = await lockWithRoute(tx, target.id)
    if (!deployment?.routeId)
      throw new AppError('DEPLOYMENT_NOT_FOUND', `deployment ${target.id} is gone; see: atelier deploys`)
    const open = await findOpenRollout(tx, deployment.routeId)
    if (deployment.state === 'live') {
      if (!open || open.state === 'reverting' || open.toDeployment === deployment.id)
        return { live: deployment, previous: deployment }
      await revertRollout(tx, open, { to: 'rolled_back', by, sentence: `${reason} to ${nameOf(deployment)}` })
      return { live: deployment, previous: (await findDeployment(tx, open.toDeployment)) ?? deployment }
    }
    if (deployment.state !== 'superseded' && deployment.state !== 'rolled_back') {
      throw new AppError(
        'DEPLOYMENT_STATE',
        `${nameOf(deployment)} is ${deployment.state} and was never live; see: atelier deploys`,
      )
    }
    if (!(await holdBuild(tx, deployment.buildId))) throw pruned(deployment)
    const candidate = await endOpenRollout(tx, deployment, {
      to: 'rolled_back',
      by,
      reason: `${reason} to ${nameOf(deployment)}`,
    })
    const previous = await replaceLive(tx, deployment, {
      to: 'rolled_back',
      by,
      reason: `${reason} to ${nameOf(deployment)}`,
    })
    const live = await setLive(tx, deployment, { by, reason })
    const back = candidate ?? previous
    if (back?.state === 'rolled_back')
      await holdAutomaticDoors(tx, { app: live.appId, message: `${nameOf(back)} was rolled back by ${by}`, by })
    return { live, previous: previous ?? live }
  })
}

// While a new version has a share of the traffic, going back is to let it have none.
async function findBefore(sql: Db, live: Deployment): Promise<Deployment> {
  const open = live.routeId === null ? null : await findOpenRollout(sql, live.routeId)
  if (open && open.state !== 'reverting') return open.toDeployment === live.id ? findPrevious(sql, live) : live
  const takenBack = await findTakenBack(sql, live)
  if (!takenBack) return findPrevious(sql, live)
  const further = await findNewestBefore(sql, live)
  throw new AppError(
    'ALREADY_BACK',
    `${nameOf(takenBack)} was already taken back; ${nameOf(live)} is live. ${further ? `Further back: atelier rollback v${further.number}` : 'See: atelier status'}`,
  )
}

// The newest version that had visitors, if it was rolled out beside the live one and taken back from there.
async function findTakenBack(sql: Db, live: Deployment): Promise<Deployment | null> {
  const [newest] = await sql<Deployment[]>`
    select *
    from deployments
    where route_id = ${live.routeId}
      and traffic_at is not null
    order by number desc
    limit 1
  `
  if (!newest || (newest.state !== 'failed' && newest.state !== 'rolled_back')) return null
  const rollouts = await sql`
    select id
    from rollouts
    where to_deployment = ${newest.id}
      and from_deployment = ${live.id}
      and state in ('reverting', 'aborted')
  `
  return rollouts.length > 0 ? newest : null
}

async function findPrevious(sql: Db, live: Deployment): Promise<Deployment> {
  const previous = await findNewestBefore(sql, live)
  if (!previous)
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${live.appId} has no earlier live version than ${nameOf(live)}; see: atelier deploys`,
    )
  return previous
}

async function findNewestBefore(sql: Db, live: Deployment): Promise<Deployment | null> {
  const [previous] = await sql<Deployment[]>`
    select *
    from deployments
    where route_id = ${live.routeId}
      and state = 'superseded'
      and number < ${live.number}
    order by number desc
    limit 1
  `
  return previous ?? null
}

async function findNamed(sql: Db, app: string, version: string, live: Deployment): Promise<Deployment> {
  const named = await findByVersion(sql, app, version)
  const distinct = new Set(named.map((deployment) => deployment.version))
  if (distinct.size > 1) {
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${version} could mean ${[...distinct].map(shortVersion).join(' or ')}; write more characters of the one you mean`,
    )
  }
  const target =
    named.find(({ id }) => id === live.id) ??
    named.find(({ state }) => state === 'superseded' || state === 'rolled_back')
  if (target) return target

  const attempt = named[0]
  if (attempt)
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${nameOf(attempt)} was never live (it is ${attempt.state}); versions that were: atelier deploys --app ${app}`,
    )
  throw new AppError('VERSION_NOT_FOUND', `${app} keeps no version ${version}; see: atelier deploys --app ${app}`)
}
