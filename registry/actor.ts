import type { Actor } from './audit.ts'
import type { Caller } from './rights.ts'

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
