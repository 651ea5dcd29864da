import { type Actor, type Deed, recordDeed, recordOutcome } from '../audit.ts'
import { answerOfDatabase } from '../deadline.ts'
import { toAppError } from '../errors.ts'
import type { ApiDeps } from './call.ts'

/** Does what changes something, written down before and with what came of it after. Throws DATABASE_UNAVAILABLE, and what the deed throws. */
export async function accountFor(
  { sql, log }: Pick<ApiDeps, 'sql' | 'log'>,
  actor: Actor,
  deed: Deed,
  act: () => Promise<Response>,
): Promise<Response> {
  const entry = await answerOfDatabase(recordDeed(sql, actor, deed))
  // The deed stands, whether or not its outcome can be written down.
  const end = (outcome: string) =>
    recordOutcome(sql, entry, outcome).catch((err: unknown) =>
      log.warn({ err, entry, outcome }, 'outcome not recorded'),
    )
  try {
    const response = await act()
    await end('done')
    return response
  } catch (thrown) {
    await end(toAppError(thrown).code)
    throw thrown
  }
}
