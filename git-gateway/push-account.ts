import type { IncomingMessage } from 'node:http'
import { actorOf } from '../registry/actor.ts'
import { recordDeed, recordOutcome } from '../registry/audit.ts'
import { answerOfDatabase } from './deadline.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import type { Access } from './guard.ts'
import { isZero, type RefUpdate, type Verdict } from './ref-update.ts'

const mostRefs = 50
// Somebody waits for the end of the push, for the database it may be that they have waited already.
const outcomeWithinMs = 400

/** What the audit log says of one push: who pushes what, before git keeps it, and whether all of it was taken. */
export class PushAccount {
  readonly #deps: Pick<GatewayDeps, 'sql' | 'log'>
  readonly #push: { app: string; access: Access; request: IncomingMessage }
  #entry: number | null = null
  #isRefused = false

  constructor(push: { app: string; access: Access; request: IncomingMessage }, deps: Pick<GatewayDeps, 'sql' | 'log'>) {
    this.#push = push
    this.#deps = deps
  }

  /** Throws DATABASE_UNAVAILABLE: what cannot be written down is not kept. */
  async begin(updates: RefUpdate[]): Promise<void> {
    const { app, access, request } = this.#push
    const forwardedFor = String(request.headers['x-forwarded-for'] ?? '')
    const refs = updates.slice(0, mostRefs).map(({ ref, new: sha }) => `${ref} ${isZero(sha) ? 'deleted' : sha}`)
    this.#entry = await answerOfDatabase(
      recordDeed(this.#deps.sql, actorOf(access.caller, { via: 'git', forwardedFor }), {
        action: 'git push',
        app,
        detail: { refs, ...(access.app === null && { creates: app }) },
      }),
    )
  }

  judged(verdicts: Verdict[]): void {
    this.#isRefused ||= verdicts.some(({ ok }) => !ok)
  }

  /** When git has ended. What was taken is taken, whether or not that can be written down. */
  async end(): Promise<void> {
    if (this.#entry === null) return
    const { sql, log } = this.#deps
    const outcome = this.#isRefused ? 'PUSH_REFUSED' : 'done'
    await answerOfDatabase(recordOutcome(sql, this.#entry, outcome), outcomeWithinMs).catch((err: unknown) =>
      log.warn({ err, entry: this.#entry, outcome }, 'outcome of a push not recorded, or late'),
    )
  }
}
