import { isIPv6 } from 'node:net'
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

/** What counts as one client: an address, of IPv6 its /64, for whoever has one of these has 2^64 of them. */
export function networkOf(address: string): string {
  if (!isIPv6(address) || address.includes('.')) return address
  const [head = '', tail = ''] = address.split('::')
  const groups = head.split(':').filter(Boolean)
  const missing = 8 - groups.length - tail.split(':').filter(Boolean).length
  const all = address.includes('::') ? [...groups, ...Array.from({ length: missing }, () => '0')] : groups
  return `${all.slice(0, 4).join(':')}::/64`
}
