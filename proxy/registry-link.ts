import { setTimeout as pause } from 'node:timers/promises'
import { endLease, renewLease, reportRoutesSeen } from '../registry/edges.ts'
import { type Encoded, readEncoded } from '../registry/encodings.ts'
import { messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { type Purge, readPurges, reportPurgesSeen } from '../registry/purges.ts'
import { type RetainedRoute, readRetained } from '../registry/retained.ts'
import { channels, type Route, readRoutesSeen } from '../registry/routes.ts'
import type { Sql } from '../registry/sql.ts'
import { Wakeup } from '../registry/wakeup.ts'

export type RegistryLinkDeps = {
  sql: Sql
  edgeId: string
  log: Log
  /** The whole table, as often as it is read. Resolves when every edge process goes by it. */
  onRoutes: (routes: Route[]) => Promise<void>
  /** The bundles whose files are kept for pages that are still open. */
  onRetained: (retained: RetainedRoute[]) => void
  /** To be forgotten of apps' answers; null: everything. Resolves when every edge process has. */
  onPurges: (purges: Purge[] | null) => Promise<void>
  /** Deployments whose files have smaller forms than their manifests say. */
  onEncoded: (encoded: Encoded[]) => void
  /** The lease has been renewed, and what is told with it may be; `isNew`: the registry knew nothing of this edge. */
  onLease: (isNew: boolean) => Promise<void>
  /** There may be deployments to prepare. */
  onPrepare: () => Promise<void>
  /** There may be new versions to probe. */
  onRollout: () => Promise<void>
  /** A deployment has come to a state in which nobody will put it before users. */
  onEnded: (deploymentId: string) => void
}

const compareEveryMs = 5_000
const retainedEveryMs = 300_000
const encodedEveryMs = 300_000
const leaseEveryMs = 1_500
const answerTimeoutMs = 4_000
const endTimeoutMs = 1_000
// Purges are kept for longer than this.
const longestAwayMs = 24 * 3_600_000
const endedStates = ['failed', 'cancelled', 'removed']

/**
 * The edge's line to the registry: reads the whole route table on every notification and every 5 s, renews the lease, looks for deployments
 * to prepare. All of it may fail for as long as it likes: the edge serves what it knows, and the line comes back by itself.
 */
export class RegistryLink {
  readonly #deps: RegistryLinkDeps
  readonly #stopping = new AbortController()
  readonly #routes = new Wakeup()
  readonly #prepare = new Wakeup()
  readonly #rollouts = new Wakeup()
  readonly #lease = new Wakeup()
  readonly #retained = new Wakeup()
  readonly #purges = new Wakeup()
  readonly #encoded = new Wakeup()
  readonly #seen = new Wakeup()
  readonly #running: Promise<unknown>
  #isDown = false
  #lastSeen: { snapshot: string; generations: string } | null = null
  #toldOf = ''
  /** The snapshot in which purges were last read, and when. */
  #purgesRead: { snapshot: string; at: number } | null = null
  #purgesSeen: string | null = null

  constructor(deps: RegistryLinkDeps) {
    const { sql, onPrepare, onRollout, onRetained, onEncoded } = deps
    this.#deps = deps
    this.#listen(channels.routes, () => this.#routes.wake())
    this.#listen(channels.purges, () => this.#purges.wake())
    this.#listen(channels.encodings, () => this.#encoded.wake())
    this.#listen(channels.prepare, () => this.#prepare.wake())
    this.#listen(channels.rollouts, () => this.#rollouts.wake())
    this.#listen(channels.deployments, (payload) => this.#noticeEnd(payload))
    this.#running = Promise.all([
      this.#repeat(this.#routes, compareEveryMs, () => this.#readRoutes()),
      this.#repeat(this.#purges, compareEveryMs, () => this.#readPurges()),
      this.#repeat(this.#prepare, compareEveryMs, onPrepare),
      this.#repeat(this.#rollouts, compareEveryMs, onRollout),
      this.#repeat(this.#retained, retainedEveryMs, async () => onRetained(await readRetained(sql))),
      this.#repeat(this.#encoded, encodedEveryMs, async () => onEncoded(await readEncoded(sql))),
      this.#repeat(this.#lease, leaseEveryMs, () => this.#renewLease()),
      this.#repeat(this.#seen, compareEveryMs, () => this.#reportSeen()),
    ])
  }

  /** Gives the lease back, if the registry answers, and stops asking. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    if (this.#isDown) return
    const ended = endLease(this.#deps.sql, this.#deps.edgeId).catch((thrown: unknown) => this.#noteDown(thrown))
    await Promise.race([ended, pause(endTimeoutMs)])
  }

  // Asked for once: the driver subscribes again after every lost connection and every failed attempt, this first one included,
  // and each time something may have been missed.
  #listen(channel: string, onPayload: (payload: string) => void): void {
    const onListening = () => {
      this.#routes.wake()
      this.#purges.wake()
      this.#prepare.wake()
      this.#rollouts.wake()
      this.#retained.wake()
      this.#encoded.wake()
    }
    this.#deps.sql.listen(channel, onPayload, onListening).catch((thrown: unknown) => this.#noteDown(thrown))
  }

  // An edge process that hangs keeps nobody from reading on: it is waited for apart.
  async #readRoutes(): Promise<void> {
    const { sql, onRoutes, log } = this.#deps
    const { routes, snapshot } = await readRoutesSeen(sql)
    const generations = routes.map(({ id, generation }) => `${id}:${generation}`).join()
    onRoutes(routes).then(
      () => {
        if (snapshot === null) return
        this.#lastSeen = { snapshot, generations }
        this.#seen.wake()
      },
      (thrown: unknown) => log.error({ err: thrown }, 'routes not followed'),
    )
  }

  // Waited for apart, as with routes. What was told once is not told again: an edge process that begins later has nothing to forget.
  async #readPurges(): Promise<void> {
    const { sql, onPurges, log } = this.#deps
    const last = this.#purgesRead
    const since = last && performance.now() - last.at < longestAwayMs ? last.snapshot : null
    const { purges, snapshot } = await readPurges(sql, since)
    this.#purgesRead = { snapshot, at: performance.now() }
    if (purges?.length === 0) return
    onPurges(purges).then(
      () => {
        this.#purgesSeen = snapshot
        this.#seen.wake()
      },
      (thrown: unknown) => log.error({ err: thrown }, 'not purged'),
    )
  }

  async #renewLease(): Promise<void> {
    const { sql, edgeId, onLease } = this.#deps
    const isNew = await renewLease(sql, edgeId)
    // Forgotten meanwhile, with what it had said that it sees.
    if (isNew) {
      this.#toldOf = ''
      this.#seen.wake()
    }
    await onLease(isNew)
  }

  // What is served now, and what is no longer, is said when it has changed.
  async #reportSeen(): Promise<void> {
    const purged = this.#purgesSeen
    if (purged !== null) {
      await reportPurgesSeen(this.#deps.sql, this.#deps.edgeId, purged)
      if (this.#purgesSeen === purged) this.#purgesSeen = null
    }
    const seen = this.#lastSeen
    if (!seen || seen.generations === this.#toldOf) return
    await reportRoutesSeen(this.#deps.sql, this.#deps.edgeId, seen.snapshot)
    this.#toldOf = seen.generations
  }

  // One question at a time: while a server that hangs has not answered the last one, the next is not asked.
  async #repeat(wakeup: Wakeup, everyMs: number, task: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping
    let isAsking = false
    let isMissed = false
    while (!signal.aborted) {
      // What woke it while it waits for an answer may be newer than that answer.
      if (isAsking) isMissed = true
      else {
        isAsking = true
        const asking = task()
          .then(
            () => this.#noteUp(),
            (thrown: unknown) => this.#noteDown(thrown),
          )
          .finally(() => {
            isAsking = false
            if (isMissed) wakeup.wake()
            isMissed = false
          })
        await Promise.race([asking, pause(answerTimeoutMs, null, { signal, ref: false }).catch(() => null)])
        if (isAsking && !signal.aborted) this.#noteDown(new Error(`no answer for ${answerTimeoutMs} ms`))
      }
      await wakeup.next({ timeoutMs: everyMs, signal })
    }
  }

  #noteUp(): void {
    if (this.#isDown) this.#deps.log.info('the registry answers again')
    this.#isDown = false
  }

  #noteDown(thrown: unknown): void {
    if (!this.#isDown)
      this.#deps.log.warn({ reason: messageOf(thrown) }, 'the registry does not answer; serving what is known')
    this.#isDown = true
  }

  #noticeEnd(payload: string): void {
    const [id = '', state = ''] = payload.split(':')
    if (endedStates.includes(state)) this.#deps.onEnded(id)
  }
}
