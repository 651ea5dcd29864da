import type { StepLog } from '../registry/build-logs.ts'
import type { Claim } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { AppError } from '../registry/errors.ts'
import { awaitPrepared, bringOut, markPrepared, requestPrepare } from '../registry/release.ts'
import type { Sql } from '../registry/sql.ts'
import { Fenced } from './attempt.ts'

const prepareTimeoutMs = 60_000

export type PutLiveDeps = { sql: Sql; config: Config; steps: StepLog; signal: AbortSignal }

/**
 * Has every edge load the deployment and check it, and then lets it go live: by the gateway, once it has moved the ref of a push, else here.
 * Throws APP_UNHEALTHY when no edge could, NO_EDGE when none answered.
 */
export async function putLive(claim: Claim, { sql, config, steps, signal }: PutLiveDeps): Promise<void> {
  await steps.step('Starting', 'behind the proxy', () => prepare(claim, { sql, signal }), { onlyIfLong: true })
  // Before the line that says it is live, which whoever moves the branch may write from here on.
  await steps.flush()
  if (!(await markPrepared(sql, claim))) throw new Fenced('the attempt was given to another worker')
  const isPush = claim.source === 'git' && claim.ref !== null
  if (!isPush) await bringOut(sql, claim.id, { config, by: claim.createdBy })
}

async function prepare(claim: Claim, { sql, signal }: Pick<PutLiveDeps, 'sql' | 'signal'>): Promise<void> {
  await requestPrepare(sql, claim.id)
  const { ready, failed } = await awaitPrepared(sql, claim.id, { timeoutMs: prepareTimeoutMs, signal })
  signal.throwIfAborted()
  if (ready.length > 0) return
  const [first] = failed
  if (first) throw new AppError('APP_UNHEALTHY', first.reason ?? 'the app did not start at the edge')
  throw new AppError(
    'NO_EDGE',
    `no edge answered within ${prepareTimeoutMs / 1000} s; is the proxy running? see: atelier status`,
  )
}
