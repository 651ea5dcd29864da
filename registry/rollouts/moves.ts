import { isDeepStrictEqual } from 'node:util'
import { appendBuildLog, stepLine } from '../build-logs.ts'
import type { Config } from '../config.ts'
import { lockWithRoute } from '../live.ts'
import type { Log } from '../log.ts'
import { endRollout, openSegment, type Rollout, recordDecision } from '../rollout.ts'
import { completeRollout, endReverted, revertRollout } from '../rollout-ends.ts'
import type { Db, Sql } from '../sql.ts'
import type { Before, Verdict } from './decide.ts'
import type { LatencyLimits } from './latency-limits.ts'
import type { Reckoned } from './moment.ts'
import type { Watched } from './watched.ts'

// What a verdict does to a rollout. Every write is one of the leader of its epoch, and moves a rollout only from the revision that was judged.

export type Move =
  | { kind: 'advance'; verdict: Verdict; percent: number; limits: LatencyLimits | null }
  /** A new segment at the same weight. */
  | { kind: 'cut'; verdict: Verdict; opens: 'half' | 'guard'; limits: LatencyLimits | null }
  | { kind: 'rollback' | 'done' | 'probe' | 'tell'; verdict: Verdict }
  /** The edges have followed a rollback. */
  | { kind: 'reverted' }

/** What is written with every look. */
export type Look = { verdict: Verdict; now: Reckoned; before: Before }
type Written = Omit<Look, 'now'> & Pick<Watched, 'readAt'> & { now: Reckoned | null }

export type MoveDeps = { sql: Sql; config: Config; log: Log; epoch: number } & Partial<Look>

const by = 'platform'

/** True: the move is made. False: another one leads, or the rollout is not as it was judged any more. */
export async function move(watched: Watched, wanted: Move, deps: MoveDeps): Promise<boolean> {
  const { sql, log, epoch } = deps
  const isMade = await sql.begin(async (tx) => {
    await lockWithRoute(tx, watched.toDeployment)
    const rollout = await lockAsLeader(tx, watched, epoch)
    if (!rollout) return false
    await make(tx, rollout, wanted, deps)
    if (deps.verdict && deps.now && deps.before) {
      const { verdict, now, before } = deps
      const look = { verdict, before, readAt: watched.readAt, now: isFresh(wanted) ? null : now }
      await tx`update rollouts set ${lookAt(tx, look)} where id = ${rollout.id}`
    }
    return true
  })
  if (isMade) tell(log, watched, wanted)
  return isMade
}

/** Would `note` write anything that is not there? The clock of a stage that runs always is. */
export function isNoted(watched: Watched, { epoch, verdict, now, before }: { epoch: number } & Look): boolean {
  return (
    watched.epoch === epoch &&
    watched.activeSec === now.activeSec &&
    (watched.sinceTickSec !== null) === now.runs &&
    (watched.uncoveredSec === null) === now.isCovered &&
    isDeepStrictEqual(watched.last, asJson(verdict)) &&
    isDeepStrictEqual(watched.before, asJson(before))
  )
}

/** Writes down a verdict that changes nothing, for those who watch, and the clock; in one statement, for this is done every second. */
export async function note(
  { id, revision, readAt }: Watched,
  { sql, epoch, ...look }: { sql: Sql; epoch: number } & Look,
): Promise<boolean> {
  const noted = await sql`
    with leader as (
      select epoch
      from rollout_leader
      where epoch = ${epoch}
      for share
    )
    update rollouts o
    set epoch = leader.epoch,
        ${lookAt(sql, { ...look, readAt })}
    from leader
    where id = ${id}
      and revision = ${revision}
      and ended_at is null
    returning id
  `
  return noted.length === 1
}

// Who is followed as a leader waits here for the row of its successor, or the successor for it: never do both write.
async function lockAsLeader(tx: Db, { id, revision }: Watched, epoch: number): Promise<Rollout | null> {
  const [leader] = await tx`
    select epoch
    from rollout_leader
    where epoch = ${epoch}
    for share
  `
  if (!leader) return null
  const [rollout] = await tx<Rollout[]>`
    update rollouts
    set epoch = ${epoch}
    where id = ${id}
      and revision = ${revision}
      and ended_at is null
    returning *
  `
  return rollout ?? null
}

async function make(tx: Db, rollout: Rollout, wanted: Move, { config }: MoveDeps): Promise<void> {
  switch (wanted.kind) {
    case 'advance':
      return advance(tx, rollout, wanted, config)
    case 'cut': {
      const [{ percent } = { percent: 0 }] = await tx<{ percent: number }[]>`
        select percent
        from rollout_segments
        where rollout_id = ${rollout.id}
          and ordinal = ${rollout.segment}
      `
      await openSegment(tx, rollout, { opens: wanted.opens, percent, ...limitsOf(wanted), by })
      if (wanted.opens === 'guard')
        await tx`update rollouts set guard_watch_since = clock_timestamp() where id = ${rollout.id}`
      return setState(tx, rollout, wanted.verdict)
    }
    case 'rollback': {
      const { verdict } = wanted
      const { sentence } = verdict
      return revertRollout(tx, rollout, { to: 'failed', by, sentence, errorCode: 'ROLLED_BACK', verdict })
    }
    case 'done': {
      const { verdict } = wanted
      await say(tx, rollout, verdict.sentence)
      return endRollout(tx, rollout, { state: 'done', sentence: verdict.sentence, by, verdict })
    }
    case 'probe':
      return askProbes(tx, rollout, wanted.verdict)
    case 'tell':
      return setState(tx, rollout, wanted.verdict)
    case 'reverted':
      return endReverted(tx, rollout, by)
  }
}

async function advance(
  tx: Db,
  rollout: Rollout,
  wanted: Extract<Move, { kind: 'advance' }>,
  config: Config,
): Promise<void> {
  const { verdict, percent } = wanted
  await say(tx, rollout, verdict.sentence)
  if (rollout.segment < 0 && percent < 100) await appendBuildLog(tx, rollout.toDeployment, nextCommands)
  await recordDecision(tx, rollout, { kind: 'advance', sentence: verdict.sentence, by, verdict })
  if (percent === 100) await completeRollout(tx, rollout, { config, by: rollout.by, ...limitsOf(wanted) })
  else await openSegment(tx, rollout, { opens: 'stage', percent, ...limitsOf(wanted), by })
  await tx`
    update rollouts
    set state = 'observing',
        active_sec = 0,
        confidence = ${verdict.kind === 'advance' ? verdict.confidence : null},
        uncovered_since = null,
        guard_watch_since = null,
        guard_held_since = null,
        probe_turn = null,
        probe_asked_at = null
    where id = ${rollout.id}
  `
}

// A push ends here: from now on the rollout goes by itself.
const nextCommands = ['       follow it: atelier status; more at once: atelier promote 100; back: atelier abort']

// Asking again, each minute for as long as it takes, is no news: what was answered last is kept, and told when it is another answer.
async function askProbes(tx: Db, rollout: Rollout, verdict: Verdict): Promise<void> {
  await tx`
    delete from rollout_probes p
    using rollouts o
    where o.id = ${rollout.id}
      and p.rollout_id = o.id
      and p.turn < o.probe_turn
  `
  await tx`
    update rollouts o
    set probe_turn = (select coalesce(max(turn), -1) + 1 from rollout_probes p where p.rollout_id = o.id),
        probe_asked_at = clock_timestamp(),
        revision = revision + 1
    where id = ${rollout.id}
  `
  if (verdict.kind === 'probe')
    await recordDecision(tx, rollout, { kind: 'probe', sentence: verdict.sentence, by, verdict })
}

async function setState(tx: Db, rollout: Rollout, verdict: Verdict): Promise<void> {
  const judged = verdict.kind === 'hold' ? 'held' : 'observing'
  const state = rollout.state === 'paused' ? 'paused' : judged
  const isGuard = verdict.kind === 'hold' && verdict.cause === 'guard'
  await tx`
    update rollouts
    set state = ${state},
        guard_held_since = case when ${isGuard} then coalesce(guard_held_since, clock_timestamp()) end,
        revision = revision + 1
    where id = ${rollout.id}
  `
  await recordDecision(tx, rollout, { kind: verdict.kind, sentence: verdict.sentence, by, verdict })
  const isGuardNews = state === 'paused' && isGuard && rollout.guardHeldSince === null
  if (state === rollout.state && !isGuardNews) return
  await say(tx, rollout, verdict.sentence)
  if (state === 'held' && rollout.segment < 0)
    await appendBuildLog(tx, rollout.toDeployment, ['       all the same: atelier promote 100; or push a fix'])
}

// The clock has been counted up to the moment of the reading: from when it is written, each look would lose the time that it took. A stage that has
// just begun counts from its beginning. As text: the driver's dates know no microseconds.
function lookAt(sql: Db, { verdict, now, before, readAt }: Written) {
  return sql`
    before = ${sql.json(before)},
    verdict = ${sql.json(asJson(verdict))},
    sentence = case state when 'paused' then sentence else ${verdict.sentence} end,
    active_sec = coalesce(${now?.activeSec ?? null}::double precision, active_sec),
    uncovered_since = case when ${now?.isCovered ?? true} then null else coalesce(uncovered_since, clock_timestamp()) end,
    ticked_at = ${now ? sql`${now.runs ? readAt : null}::text::timestamptz` : sql`clock_timestamp()`}
  `
}

function asJson(value: object) {
  return JSON.parse(JSON.stringify(value))
}

async function say(tx: Db, { toDeployment }: Rollout, sentence: string): Promise<void> {
  await appendBuildLog(tx, toDeployment, [stepLine('Canary', sentence, null)])
}

function limitsOf({ limits }: { limits: LatencyLimits | null }): LatencyLimits | { slowMs: null; tooSlowMs: null } {
  return limits ?? { slowMs: null, tooSlowMs: null }
}

// A stage begins with a clock of its own.
function isFresh({ kind }: Move): boolean {
  return kind === 'advance'
}

function tell(log: Log, { id, appId, toDeployment }: Watched, wanted: Move): void {
  const fields = { app: appId, deployment: toDeployment, rollout: id }
  if (wanted.kind === 'reverted') {
    log.info(fields, 'rollout reverted on the edges')
    return
  }
  const { kind, verdict } = wanted
  const said = { ...fields, sentence: verdict.sentence }
  if (kind === 'rollback') log.warn(said, 'rollout taken back')
  else if (kind === 'advance') log.info({ ...said, percent: wanted.percent }, 'rollout advanced')
  else if (kind === 'done') log.info(said, 'rollout done')
  else if (verdict.kind === 'hold' && verdict.alert) log.warn(said, 'rollout held')
  else if (kind === 'tell') log.info(said, verdict.kind === 'hold' ? 'rollout held' : 'rollout observed')
}
