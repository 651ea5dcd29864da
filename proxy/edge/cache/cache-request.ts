import type { IncomingMessage } from 'node:http'
import type { AppCall } from '../app/app-request.ts'
import { forwardHeaders, isForwarded } from '../app/request-headers.ts'

// What every browser and curl send of themselves. An answer to a request with anything else in it may be about that: a cookie, a header that
// names another path, method or host, one that an app repeats (security.md A5).
const ordinary = new Set([
  'user-agent',
  'accept',
  'accept-language',
  'accept-charset',
  'referer',
  'dnt',
  'priority',
  'upgrade-insecure-requests',
])
// Between the client and a cache, or about what the client has: for an answer that everybody gets they are left out.
const betweenEnds = new Set(['accept-encoding', 'cache-control', 'pragma', 'if-none-match', 'if-modified-since'])

// The edge asks for itself. Without any address, apps that look for one would fail.
const ownAddress = '127.0.0.1'

/**
 * What an answer is kept under: all that the app is told of where the request goes, as it is told. One that the site's rules have rewritten has also the
 * address that was asked for, by which it may be purged.
 */
export function keyOf({ target, asked, forwarding }: Pick<AppCall, 'target' | 'asked' | 'forwarding'>): string {
  const key = `${forwarding.protocol} ${forwarding.host}${target}`
  return asked === target ? key : `${key} ${asked}`
}

/** Whether the answer to this very request may be kept for everybody, if it says so. */
export function isOrdinary({ method, rawHeaders, headers }: IncomingMessage): boolean {
  if (method !== 'GET' || headers.accept?.includes('text/event-stream')) return false
  const seen = new Set<string>()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (!isForwarded(name)) continue
    const lower = name.toLowerCase()
    if (seen.has(lower) || !(isOrdinaryName(lower) || betweenEnds.has(lower))) return false
    seen.add(lower)
  }
  return true
}

/**
 * The headers of a request whose answer is for everybody: what is ordinary, and what the answer is known to vary by; with nothing of who
 * happened to ask. `known`: the validators of the answer that is there.
 */
export function impersonalHeaders(
  { request, forwarding }: Pick<AppCall, 'request' | 'forwarding'>,
  vary: readonly string[],
  known: { etag: string | undefined; lastModified: string | undefined } | null,
): string[] {
  const all = forwardHeaders(request, forwarding)
  const headers: string[] = []
  for (let index = 0; index < all.length; index += 2) {
    const [name = '', value = ''] = [all[index], all[index + 1]]
    const lower = name.toLowerCase()
    if (lower === 'x-forwarded-for') headers.push(name, ownAddress)
    else if (lower === 'host' || lower.startsWith('x-forwarded-')) headers.push(name, value)
    else if (!vary.includes(lower) && isOrdinaryName(lower)) headers.push(name, value)
  }
  // As the variant is told by: values of a header that stands twice are one.
  for (const name of vary) if (request.headers[name] !== undefined) headers.push(name, String(request.headers[name]))
  if (known?.etag !== undefined) headers.push('if-none-match', known.etag)
  else if (known?.lastModified !== undefined) headers.push('if-modified-since', known.lastModified)
  return headers
}

function isOrdinaryName(lower: string): boolean {
  return ordinary.has(lower) || lower.startsWith('sec-')
}
