import { type Claim, heartbeat } from '../registry/claims.ts'
import { AppError, messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { channels } from '../registry/routes.ts'
import { every } from '../registry/schedule.ts'
import type { Sql } from '../registry/sql.ts'

const heartbeatMs = 5000

/** Why a build is ended from outside: it is no longer this worker's to finish. */
export class Fenced extends AppError {
  constructor(reason: string) {
    super('BUILD_CANCELLED', reason)
  }
}

/** Why a build is ended by its own worker: the worker stops, and the deployment goes back to the queue. */
export class Stopping extends AppError {
  constructor() {
    super('INTERNAL', 'the build worker is stopping')
  }
}

/** The builds under way in this process, each with how to end it: by a cancellation, by a lost claim, or because the process stops. */
export class Attempts {
  readonly #running = new Map<AbortController, string>()
  #isStopping = false
  #unlisten: () => Promise<unknown> = async () => undefined

  static async start(sql: Sql): Promise<Attempts> {
    const attempts = new Attempts()
    const { unlisten } = await sql.listen(channels.deployments, (payload) => attempts.#hear(payload))
    attempts.#unlisten = unlisten
    return attempts
  }

  /** Registers a build before it is claimed, so that no cancellation falls between the two. */
  begin(deploymentId: string): AbortController {
    const controller = new AbortController()
    if (this.#isStopping) controller.abort(new Stopping())
    this.#running.set(controller, deploymentId)
    return controller
  }

  end(controller: AbortController): void {
    this.#running.delete(controller)
  }

  /** Ends all of them, to be handed back to the queue, and lets none begin. */
  stopAll(): void {
    this.#isStopping = true
    for (const controller of this.#running.keys()) controller.abort(new Stopping())
  }

  async close(): Promise<void> {
    await this.#unlisten()
  }

  #hear(payload: string): void {
    const [id = '', state] = payload.split(':')
    if (state !== 'cancelled' && state !== 'removed') return
    for (const [controller, running] of this.#running)
      if (running === id) controller.abort(new Fenced('the deployment was cancelled'))
  }
}

/** Says every 5 s that the worker is alive, and ends the build when the claim is another's by now. */
export function keepClaim(
  claim: Claim,
  controller: AbortController,
  { sql, log }: { sql: Sql; log: Log },
): { close(): Promise<void> } {
  const beat = async () => {
    try {
      if (!(await heartbeat(sql, claim))) controller.abort(new Fenced('the deployment is no longer this worker’s'))
    } catch (thrown) {
      // A database that is away for a moment ends no build; one that stays away ends the claim by itself.
      log.warn({ err: messageOf(thrown), deployment: claim.id }, 'heartbeat failed')
    }
  }
  return every(heartbeatMs, beat, { log, name: 'heartbeat' })
}
