import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Sql } from '../sql.ts'

const lockKey = 7_283_645_503
const beatEveryMs = 1_000
// A leader whose machine froze, or that the network cut off, loses the lock with its session.
const sessionEndsAfterMs = 5_000

export type LeadershipDeps = {
  /** A pool of one connection that nothing else uses: its session holds the lock. */
  lockSql: Sql
  log: Log
  onChange: () => void
}

/**
 * One of several registries leads: the one whose session holds an advisory lock of Postgres. Who takes it raises the epoch, and every write names the
 * epoch it belongs to, so that one who has not noticed yet that it was followed writes nothing any more (Kleppmann's fencing token; Gray and Cheriton,
 * Leases, SOSP 1989).
 */
export class Leadership {
  readonly #deps: LeadershipDeps
  readonly #stopping = new AbortController()
  readonly #running: Promise<void>
  #held: { epoch: number; backend: number } | null = null

  constructor(deps: LeadershipDeps) {
    this.#deps = deps
    this.#running = this.#run()
  }

  /** Null: another one leads, or nobody can be asked. */
  get epoch(): number | null {
    return this.#held?.epoch ?? null
  }

  /** Gives the lock back with its session. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    this.#held = null
    await this.#deps.lockSql.end({ timeout: 1 })
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await this.#beat()
      } catch (thrown) {
        this.#lose(messageOf(thrown))
      }
      await pause(beatEveryMs, null, { signal }).catch(() => null)
    }
  }

  // The driver connects again by itself, and a new session holds no lock: the process behind it tells them apart.
  async #beat(): Promise<void> {
    const { lockSql } = this.#deps
    const backend = await readBackend(lockSql)
    if (this.#held && this.#held.backend !== backend) this.#lose('its session ended')
    if (this.#held) return
    const [taken] = await lockSql<{ isTaken: boolean; backend: number }[]>`
      select pg_try_advisory_lock(${lockKey}) as is_taken, pg_backend_pid() as backend
    `
    if (!taken?.isTaken) return
    const [raised] = await lockSql<{ epoch: number }[]>`
      update rollout_leader
      set epoch = epoch + 1
      where pg_backend_pid() = ${taken.backend}
      returning epoch
    `
    if (!raised) return
    this.#held = { epoch: raised.epoch, backend: taken.backend }
    this.#deps.log.info({ epoch: raised.epoch }, 'leads the rollouts')
    this.#deps.onChange()
  }

  #lose(reason: string): void {
    if (!this.#held) return
    this.#deps.log.warn({ epoch: this.#held.epoch, reason }, 'leads the rollouts no more')
    this.#held = null
    this.#deps.onChange()
  }
}

async function readBackend(lockSql: Sql): Promise<number> {
  const [session] = await lockSql<{ backend: number }[]>`
    select pg_backend_pid() as backend, set_config('idle_session_timeout', ${String(sessionEndsAfterMs)}, false)
  `
  return session?.backend ?? 0
}
