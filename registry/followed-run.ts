import { type OutputChunk, takeOutput } from './app-run-chunks.ts'
import { type AppRun, askToEnd, endIfLost, endRun, findRun, keepAsking } from './app-runs.ts'
import { countEdges } from './edges.ts'
import { channels } from './routes.ts'
import type { Key } from './secrets.ts'
import type { Sql } from './sql.ts'
import { Wakeup } from './wakeup.ts'

export type FollowedRun = { state: 'waiting' | 'running' } | OutputChunk | { end: AppRun | null }

const lookEveryMs = 2000
const keepEveryMs = 4000
/** A machine that restarts is back by then. */
const noEdgeMs = 15_000

/**
 * A command from its order to its end: what it writes as it comes, then `{ end }`, null when its app was removed. Whoever stops following ends
 * it, for nobody else will.
 */
export async function* followRun(
  sql: Sql,
  { id, appId }: Pick<AppRun, 'id' | 'appId'>,
  { key, signal }: { key: Key; signal: AbortSignal },
): AsyncGenerator<FollowedRun> {
  await using wakeup = await Wakeup.on(sql, [channels.appRuns], (payload) =>
    /^:(output|ended)$/.test(payload.startsWith(id) ? payload.slice(id.length) : ''),
  )
  let isOver = false
  let said: 'waiting' | 'running' | null = null
  let looks = 0
  let keptAt = performance.now()
  let edgeSeenAt = performance.now()
  try {
    while (!signal.aborted) {
      // The state before the output: what was written before the end is then never missed.
      const run = await findRun(sql, appId, id)
      const output = await takeOutput(sql, { run: id, key })
      const state = run?.state === 'waiting' && output.length === 0 ? 'waiting' : 'running'
      // One that is begun at once has not waited.
      if (state !== said && run && (state === 'running' || looks > 0)) yield { state }
      said = looks > 0 || state === 'running' ? state : said
      looks++
      for (const { stream, data } of output) yield { stream, data }
      if (!run || run.state === 'ended') {
        isOver = true
        yield { end: run }
        return
      }
      if (performance.now() - keptAt > keepEveryMs) {
        keptAt = performance.now()
        await keepAsking(sql, id)
        if (await endIfLost(sql, id)) continue
        if (run.state === 'running' || (await countEdges(sql)) > 0) edgeSeenAt = performance.now()
        else if (performance.now() - edgeSeenAt > noEdgeMs)
          await endRun(sql, id, {
            cause: 'refused',
            errorCode: 'NO_EDGE',
            reason: 'no machine that serves apps is running',
          })
      }
      await wakeup.next({ timeoutMs: lookEveryMs, signal })
    }
  } finally {
    if (!isOver) await askToEnd(sql, id, 'KILL')
  }
}
