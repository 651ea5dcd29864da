import { endLease, renewLease } from '../registry/edges.ts'
import { messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { channels, type Route, readRoutes } from '../registry/routes.ts'
import type { Sql } from '../registry/sql.ts'
import { Wakeup } from '../registry/wakeup.ts'

export type RegistryLinkDeps = {
  sql: Sql
  edgeId: string
  log: Log
  /** The whole table, as often as it is read. */
  onRoutes: (routes: Route[]) => void
  /** There may be deployments to prepare. */
  onPrepare: () => Promise<void>
  /** A deployment has come to a state in which nobody will put it before users. */
  onEnded: (deploymentId: string) => void
}

const compareEveryMs = 5_000
const leaseEveryMs = 1_500
const answerTimeoutMs = 4_000
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
  readonly #lease = new Wakeup()
  readonly #running: Promise<unknown>
  #isDown = false

  constructor(deps: RegistryLinkDeps) {
    const { sql, edgeId, onRoutes, onPrepare } = deps
    this.#deps = deps
    this.#listen(channels.routes, () => this.#routes.wake())
    this.#listen(channels.prepare, () => this.#prepare.wake())
    this.#listen(channels.deployments, (payload) => this.#noticeEnd(payload))
    this.#running = Promise.all([
      this.#repeat(this.#routes, compareEveryMs, async () => onRoutes(await readRoutes(sql))),
      this.#repeat(this.#prepare, compareEveryMs, onPrepare),
      this.#repeat(this.#lease, leaseEveryMs, () => renewLease(sql, edgeId)),
    ])
  }

  /** Gives the lease back and stops asking. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#attempt(() => endLease(this.#deps.sql, this.#deps.edgeId))
  }

  // Asked for once: the driver subscribes again after every lost connection and every failed attempt, this first one included,
  // and each time something may have been missed.
  #listen(channel: string, onPayload: (payload: string) => void): void {
    const onListening = () => {
      this.#routes.wake()
      this.#prepare.wake()
    }
    this.#deps.sql.listen(channel, onPayload, onListening).catch((thrown: unknown) => this.#noteDown(thrown))
  }

  async #repeat(wakeup: Wakeup, everyMs: number, task: () => Promise<void>): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#attempt(task)
      await wakeup.next({ timeoutMs: everyMs, signal: this.#stopping.signal })
    }
  }

  // A server that hangs is left alone after a while; its answer, should it come, is still taken.
  async #attempt(task: () => Promise<void>): Promise<void> {
    const { promise: tooLong, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error(`no answer for ${answerTimeoutMs} ms`)), answerTimeoutMs)
    try {
      await Promise.race([task(), tooLong])
      if (this.#isDown) this.#deps.log.info('the registry answers again')
      this.#isDown = false
    } catch (thrown) {
      this.#noteDown(thrown)
    } finally {
      clearTimeout(timer)
    }
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
