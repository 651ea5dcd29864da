import { type Actor, type Deed, recordDeed, recordOutcome } from '../audit.ts'
import { answerOfDatabase } from '../deadline.ts'
import { toAppError } from '../errors.ts'
import type { Caller } from '../rights.ts'
import type { ApiDeps } from './call.ts'

/** Who is behind a request, as the audit log keeps it. `via`: the door, when it is known; else the request's own word decides. */
export function actorOf(caller: Caller, request: Request, via: 'console' | null = null): Actor {
  const { name, tokenId, person } = caller
  const isCli = (request.headers.get('user-agent') ?? '').startsWith('atelier-cli')
  return {
    name,
    tokenId,
    personId: person?.id ?? null,
    via: via ?? (isCli ? 'cli' : 'api'),
    address: addressOf(request.headers.get('x-forwarded-for')),
  }
}

/** The client's address as the edge says it: the last entry, for those before it were said by others. */
export function addressOf(forwardedFor: string | null): string | null {
  const last = forwardedFor?.split(',').at(-1)?.trim() ?? ''
  return /^[0-9A-Fa-f:.]{2,45}$/.test(last) ? last : null
}

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
