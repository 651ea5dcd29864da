import type { Actor } from './audit.ts'
import type { Caller } from './rights.ts'

/** Who is behind what a caller does, as the audit log keeps it; `forwardedFor`: the header in which the edge names the client. */
export function actorOf(
  { name, tokenId, person }: Caller,
  { via, forwardedFor }: { via: Actor['via']; forwardedFor: string | null },
): Actor {
  return { name, tokenId, personId: person?.id ?? null, via, address: addressOf(forwardedFor) }
}

/** The same for a request of the API; `via`: the door, when it is known; else the request's own word decides. */
export function actorOfRequest(caller: Caller, { headers }: Request, via: 'console' | null = null): Actor {
  const isCli = (headers.get('user-agent') ?? '').startsWith('atelier-cli')
  return actorOf(caller, { via: via ?? (isCli ? 'cli' : 'api'), forwardedFor: headers.get('x-forwarded-for') })
}

/** The client's address as the edge says it: the last entry, for those before it were said by others. */
export function addressOf(forwardedFor: string | null): string | null {
  const last = forwardedFor?.split(',').at(-1)?.trim() ?? ''
  return /^[0-9A-Fa-f:.]{2,45}$/.test(last) ? last : null
}
