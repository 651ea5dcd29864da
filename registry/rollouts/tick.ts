import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import type { Sql } from '../sql.ts'
import { enoughCoverage, readCoverage } from './coverage.ts'
import { decide, type Verdict } from './decide.ts'
import { readBefore, readLimits } from './history.ts'
import { type EdgeTraffic, reckon } from './moment.ts'
import { isNoted, type Move, move, note } from './moves.ts'
import type { Watched } from './watched.ts'

export type TickDeps = {
  sql: Sql
  config: Config
  log: Log
  /** Of the leader that looks; nothing is written when another one leads. */
  epoch: number
  traffic: EdgeTraffic
}

const probeAgainSec = 60

/**
 * One look at a rollout: its verdict, and what follows from it in one transaction. A rollout that somebody else has changed since it was read is left
 * alone until the next look. Returns the verdict; null where there is none to give.
 */
export async function tick(watched: Watched, deps: TickDeps): Promise<Verdict | null> {
  if (watched.state === 'reverting') {
    if (isReverted(watched, deps.traffic)) await move(watched, { kind: 'reverted' }, deps)
    return null
  }
  // At 0 % the rollout changes nothing yet: a version that is held there for the night begins by what there is in the morning.
  const hasBegun = watched.segments.length > 0
  const before = (hasBegun && watched.before) || (await readBefore(deps.sql, watched))
  const now = reckon(watched, before, deps.traffic)
  const verdict = decide(watched.segments, watched.policy, now)
  const wanted = await choose(watched, verdict, deps)
  const look = { ...deps, verdict, now, before }
  if (wanted) await move(watched, wanted, look)
  else if (!isAskedAgain(watched, verdict) && !isNoted(watched, look)) await note(watched, look)
  return verdict
}

/** What a verdict asks for beyond being written down; null: nothing. */
async function choose(watched: Watched, verdict: Verdict, deps: TickDeps): Promise<Move | null> {
  if (verdict.kind === 'rollback') return { kind: 'rollback', verdict }
  if (watched.state === 'paused') return watchPaused(watched, verdict, deps)
  if (verdict.kind === 'advance') {
    if (verdict.next === null) return { kind: 'done', verdict }
    return {
      kind: 'advance',
      verdict,
      percent: verdict.next,
      limits: await readLimits(deps.sql, watched, watched.policy),
    }
  }
  if (verdict.kind === 'probe') return watched.probeTurn === null ? { kind: 'probe', verdict } : null
  if (verdict.kind === 'hold' && verdict.cause === 'probes' && (watched.probesAskedSec ?? 0) > probeAgainSec)
    return { kind: 'probe', verdict }
  if (verdict.cut) return { kind: 'cut', verdict, opens: verdict.cut, limits: await limitsOfCut(watched, deps) }
  return isNews(watched, verdict) ? { kind: 'tell', verdict } : null
}

// Until the answers are there, the last ones hold it.
function isAskedAgain({ state, last }: Watched, { kind }: Verdict): boolean {
  return kind === 'probe' && state === 'held' && last?.kind === 'hold' && last.cause === 'probes'
}

// Somebody keeps it where it is; a fault takes it back all the same, so the guard's watches go on.
async function watchPaused(watched: Watched, verdict: Verdict, deps: TickDeps): Promise<Move | null> {
  if (verdict.cut === 'guard') return { kind: 'cut', verdict, opens: 'guard', limits: await limitsOfCut(watched, deps) }
  const isGuarded = verdict.kind === 'hold' && verdict.cause === 'guard'
  return isGuarded === (watched.guardHeldSec !== null) ? null : { kind: 'tell', verdict }
}

// A stage that began without limits gets them when there are enough requests to know.
async function limitsOfCut({ segments, ...watched }: Watched, { sql }: TickDeps) {
  const last = segments.at(-1)
  if (last?.slowMs != null && last.tooSlowMs !== null) return { slowMs: last.slowMs, tooSlowMs: last.tooSlowMs }
  return readLimits(sql, watched, watched.policy)
}

function isNews({ last, state }: Watched, verdict: Verdict): boolean {
  if ((verdict.kind === 'hold') !== (state === 'held')) return true
  if (verdict.kind === 'observe') return false
  if (verdict.kind !== 'hold' || last?.kind !== 'hold') return verdict.kind !== last?.kind
  return verdict.cause !== last.cause || verdict.alert !== last.alert
}

// As with coverage: an edge that is cut off and had visitors goes on by the weight it knows. Where no edge is left that anybody knows, nobody does.
function isReverted({ edges }: Watched, traffic: EdgeTraffic): boolean {
  const counted = edges.filter(({ id, isAlive }) => isAlive || (traffic.get(id) ?? 0) > 0)
  const views = (counted.length > 0 ? counted : edges).map(({ id, hasWeight }) => ({
    recentRequests: traffic.get(id) ?? 0,
    reportedMsAgo: 0,
    hasWeight,
  }))
  return views.length === 0 || readCoverage(views) >= enoughCoverage
}
