import { enoughCoverage, readCoverage, staleAfterMs } from './coverage.ts'
import type { Before, Moment } from './decide.ts'
import { currentStage } from './segments.ts'
import type { Watched } from './watched.ts'

/** Requests of the route by edge, as it last told of them. */
export type EdgeTraffic = ReadonlyMap<string, number>

export type Reckoned = Moment & {
  isCovered: boolean
  /** The clock of the stage does not stand. */
  runs: boolean
}

const probesWithinSec = 5
const graceSec = staleAfterMs / 1000

/** What the counters do not say, at the moment at which the rollout was read. */
export function reckon(watched: Watched, before: Before, traffic: EdgeTraffic): Reckoned {
  const { segments, policy, state } = watched
  const coverage = segments.length === 0 ? 1 : coverageOf(watched, traffic)
  const isCovered = coverage >= enoughCoverage
  const runs = isCovered && segments.length > 0 && state !== 'paused'
  // Of the time since the last look no more counts than reports are good for: nobody led in the meantime.
  const activeSec = watched.activeSec + (runs ? Math.min(watched.sinceTickSec ?? 0, graceSec) : 0)
  const newest = segments.at(-1)?.openedSecAgo ?? 0
  const isFresh = newest < graceSec && activeSec < policy.observationWindowSec
  return {
    activeSec,
    isCovered,
    runs,
    // Edges have yet to hear of a new segment, and to tell of it.
    coverage: isFresh ? 1 : coverage,
    uncoveredSec: isCovered ? 0 : (watched.uncoveredSec ?? 0),
    guard: {
      watchSec: watched.guardWatchSec ?? stageAge(watched),
      heldSec: watched.guardHeldSec,
    },
    probes: readProbes(watched),
    before,
  }
}

// An edge that is gone without a word and had visitors still has them, as far as anybody knows.
function coverageOf({ edges }: Watched, traffic: EdgeTraffic): number {
  const views = edges
    .filter(({ id, isAlive }) => isAlive || (traffic.get(id) ?? 0) > 0)
    .map(({ id, reportedMsAgo, hasWeight }) => ({
      recentRequests: traffic.get(id) ?? 0,
      reportedMsAgo: reportedMsAgo ?? Number.POSITIVE_INFINITY,
      hasWeight,
    }))
  return readCoverage(views)
}

function stageAge({ segments }: Watched): number {
  const first = currentStage(segments)[0]
  return segments.find((segment) => segment === first)?.openedSecAgo ?? 0
}

// When all living edges have answered; the others after 5 s no more, if any has.
function readProbes({ probeTurn, probesAskedSec, probes, edges }: Watched): Moment['probes'] {
  if (probeTurn === null || probes.length === 0) return null
  const answered = new Set(probes.map(({ edgeId }) => edgeId))
  const isSettled = edges.every(({ id, isAlive }) => !isAlive || answered.has(id))
  if (!isSettled && (probesAskedSec ?? 0) < probesWithinSec) return null
  return {
    passed: probes.reduce((sum, { passed }) => sum + passed, 0),
    failed: probes.reduce((sum, { failed }) => sum + failed, 0),
    reason: probes.find(({ reason }) => reason !== null)?.reason ?? null,
  }
}
