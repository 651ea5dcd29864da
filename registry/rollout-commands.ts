import { appendBuildLog, stepLine } from './build-logs.ts'
import type { Config } from './config.ts'
import { type Deployment, findByVersion, findDeployment } from './deployments.ts'
import { AppError } from './errors.ts'
import { nameOf } from './live.ts'
import { findOpenRollout, openSegment, type Rollout, recordDecision, refuseIfEnded } from './rollout.ts'
import { completeRollout, revertRollout } from './rollout-ends.ts'
import type { Db, Sql } from './sql.ts'

// What people do to a rollout. Each is one transaction under the lock of the route's row, a line of the rollout's history and one of its log; a
// verdict that was reached before finds another revision and is thrown away.

/** Who, and why if they said so; `of`: the version they mean, for another one may have come since they looked (ROLLOUT_OTHER). */
export type Order = { by: string; reason?: string | null; of?: string | null }

/** What a rollout is after an order, its deployment, and the share of the traffic that has, in percent. */
export type Ordered = { rollout: Rollout; candidate: Deployment; percent: number }

type Open = Ordered & { limits: { slowMs: number | null; tooSlowMs: number | null } }

/** The clock stands and the weight stays until somebody resumes, promotes or aborts. Throws NO_ROLLOUT. Done again it changes nothing. */
export async function pauseRollout(sql: Sql, app: string, order: Order): Promise<Ordered> {
  return withOpenRollout(sql, app, order, async (tx, open) => {
    if (open.rollout.state !== 'paused')
      await setState(tx, open, { state: 'paused', kind: 'paused', what: `paused at ${open.percent} %`, order })
  })
}

/** The clock goes on where it stood. Throws NO_ROLLOUT, DEPLOYMENT_STATE when it is not paused. */
export async function resumeRollout(sql: Sql, app: string, order: Order): Promise<Ordered> {
  return withOpenRollout(sql, app, order, async (tx, open) => {
    const { rollout, percent } = open
    if (rollout.state !== 'paused')
      throw new AppError(
        'DEPLOYMENT_STATE',
        rollout.state === 'held'
          ? `the rollout of ${app} is held, not paused; go on all the same with: atelier promote <percent>, or back with: atelier abort`
          : `the rollout of ${app} is not paused; see: atelier status`,
      )
    await setState(tx, open, { state: 'observing', kind: 'resumed', what: `resumed at ${percent} %`, order })
  })
}

/**
 * On to `percent` at once; 100 makes the new deployment live, watched for one window more. A weight by hand is a stage like any other, so what is judged
 * goes on. Throws NO_ROLLOUT, and DEPLOYMENT_STATE for less than it has: a visitor never goes back but with everybody.
 */
export async function promoteRollout(
  sql: Sql,
  app: string,
  { percent, config, ...order }: Order & { percent: number; config: Config },
): Promise<Ordered> {
  return withOpenRollout(sql, app, order, async (tx, open) => {
    const { rollout, limits } = open
    if (percent === open.percent && rollout.state !== 'paused') return
    if (percent < open.percent)
      throw new AppError(
        'DEPLOYMENT_STATE',
        `the new version of ${app} has ${open.percent} % of the traffic, and nobody goes back but with everybody: atelier abort`,
      )
    const what = percent === open.percent ? `resumed at ${percent} %` : `${open.percent} % → ${percent} %`
    await setState(tx, open, { state: 'observing', kind: 'promoted', what, order })
    if (percent === open.percent) return
    await restartClock(tx, rollout)
    const fresh = { ...rollout, revision: rollout.revision + 1 }
    if (percent === 100) await completeRollout(tx, fresh, { config, by: order.by, ...limits })
    else await openSegment(tx, fresh, { opens: 'stage', percent, by: order.by, ...limits })
  })
}

/** Back to the old deployment; the new one ends `rolled_back`. Throws NO_ROLLOUT. */
export async function abortRollout(sql: Sql, app: string, order: Order): Promise<Ordered> {
  return withOpenRollout(sql, app, order, async (tx, { rollout, percent }) => {
    const sentence = sentenceOf(`taken back at ${percent} %`, order)
    await revertRollout(tx, rollout, { to: 'rolled_back', by: order.by, sentence })
  })
}

/** The production rollout of an app that is under way, or null. */
export async function findRolloutOfApp(sql: Db, app: string): Promise<Rollout | null> {
  const [open] = await sql<Rollout[]>`
    select o.*
    from rollouts o
    join routes r on r.id = o.route_id
    where r.app_id = ${app}
      and r.environment = 'production'
      and o.ended_at is null
      and o.state <> 'reverting'
  `
  return open ?? null
}

async function withOpenRollout(
  sql: Sql,
  app: string,
  { of = null }: Order,
  act: (tx: Db, open: Open) => Promise<void>,
): Promise<Ordered> {
  return sql.begin(async (tx) => {
    const open = await lockOpenRollout(tx, app)
    if (of !== null) await refuseIfOther(tx, open, of)
    await act(tx, open)
    const { limits: _, ...after } = await readOpen(tx, open.rollout.id)
    return after
  })
}

async function lockOpenRollout(tx: Db, app: string): Promise<Open> {
  const [route] = await tx<{ id: string }[]>`
    select id
    from routes
    where app_id = ${app}
      and environment = 'production'
    for update
  `
  const rollout = route ? await findOpenRollout(tx, route.id) : null
  refuseIfEnded(rollout, app)
  return readOpen(tx, rollout.id)
}

async function refuseIfOther(tx: Db, { rollout, candidate }: Open, of: string): Promise<void> {
  const meant = await findByVersion(tx, rollout.appId, of)
  if (meant.some(({ id }) => id === candidate.id)) return
  throw new AppError(
    'ROLLOUT_OTHER',
    `the rollout of ${rollout.appId} under way is that of ${nameOf(candidate)}, not of ${of}; nothing is changed, see: atelier status`,
  )
}

async function readOpen(tx: Db, id: string): Promise<Open> {
  const [rollout] = await tx<Rollout[]>`
    select *
    from rollouts
    where id = ${id}
  `
  const candidate = rollout ? await findDeployment(tx, rollout.toDeployment) : null
  if (!rollout || !candidate) throw new AppError('INTERNAL', `the rollout ${id} has lost its deployment`)
  const [segment] = await tx<{ percent: number; slowMs: number | null; tooSlowMs: number | null }[]>`
    select percent, slow_ms, too_slow_ms
    from rollout_segments
    where rollout_id = ${id}
      and ordinal = ${rollout.segment}
  `
  const { percent = 0, slowMs = null, tooSlowMs = null } = segment ?? {}
  return { rollout, candidate, percent, limits: { slowMs, tooSlowMs } }
}

async function setState(
  tx: Db,
  { rollout, candidate }: Open,
  {
    state,
    kind,
    what,
    order,
  }: { state: 'observing' | 'paused'; kind: 'paused' | 'resumed' | 'promoted'; what: string; order: Order },
): Promise<void> {
  const sentence = sentenceOf(what, order)
  await tx`
    update rollouts
    set state = ${state},
        sentence = ${sentence},
        confidence = case when ${kind} = 'promoted' then 'by hand' else confidence end,
        ticked_at = null,
        revision = revision + 1
    where id = ${rollout.id}
  `
  await recordDecision(tx, rollout, { kind, sentence, by: order.by })
  await appendBuildLog(tx, candidate.id, [stepLine('Canary', sentence, null)])
}

// A stage has a clock and watches of its own.
async function restartClock(tx: Db, { id }: Rollout): Promise<void> {
  await tx`
    update rollouts
    set active_sec = 0,
        guard_watch_since = null,
        guard_held_since = null,
        uncovered_since = null,
        probe_turn = null
    where id = ${id}
  `
}

function sentenceOf(what: string, { by, reason }: Order): string {
  return reason ? `${what} by ${by}: ${reason}` : `${what} by ${by}`
}
