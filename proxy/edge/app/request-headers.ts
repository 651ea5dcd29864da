import type { IncomingMessage } from 'node:http'
import { HeaderNames } from './header-names.ts'

/** What the edge knows of a client, as apps are told. */
export type Forwarding = {
  clientAddress: string
  host: string
  protocol: 'http' | 'https'
  /** By a trusted proxy, whose own headers about the client then pass, too. */
  isVouchedFor: boolean
}

// Hop-by-hop (RFC 9110 §7.6.1), what the edge alone may say, and headers by which frameworks trust a proxy that is not there (CVE-2025-29927).
const dropped = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'http2-settings',
  'expect',
  'host',
  'forwarded',
  'x-middleware-subrequest',
])
// What proxies and delivery networks say of a client, each in a header of its own, and libraries look for.
const aboutClient = new Set([
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'true-client-ip',
  'cf-connecting-ip',
  'cf-connecting-ipv6',
  'fastly-client-ip',
  'fly-client-ip',
  'x-appengine-user-ip',
  'x-forwarded',
  'forwarded-for',
])
const cares = new HeaderNames((lower): 'pass' | 'drop' | 'client' => {
  if (dropped.has(lower) || isEdgeOnly(lower) || (lower.includes('_') && isLookAlike(lower))) return 'drop'
  return aboutClient.has(lower) ? 'client' : 'pass'
})

/**
 * The headers an app gets, as flat pairs: the client's own without hop-by-hop ones, those its Connection header names, and what only the edge
 * may say; then Host and x-forwarded-*. Framing is left to the caller.
 */
export function forwardHeaders(request: IncomingMessage, forwarding: Forwarding): string[] {
  const raw = request.rawHeaders
  const named = namedByConnection(request.headers.connection)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const care = cares.of(name)
    if (care === 'drop' || (care === 'client' && !forwarding.isVouchedFor) || named?.has(name.toLowerCase())) continue
    headers.push(name, raw[index + 1] ?? '')
  }
  const { host, clientAddress, protocol } = forwarding
  headers.push('host', host, 'x-forwarded-for', clientAddress)
  headers.push('x-forwarded-proto', protocol, 'x-forwarded-host', host)
  return headers
}

/** Whether a client's header of this name reaches the app as the client wrote it, whoever the client is. */
export function isForwarded(name: string): boolean {
  return cares.of(name) === 'pass'
}

/** The peer's address. `::ffff:10.0.0.1`, as a socket that serves both families gives it, is 10.0.0.1. */
export function peerAddress({ remoteAddress = '' }: { remoteAddress?: string | undefined }): string {
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice(7) : remoteAddress
}

/** Names listed in a Connection header, in lower case; null when there are none beyond the usual. */
export function namedByConnection(connection: string | undefined): Set<string> | null {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()))
}

// Programs in other languages get headers as environment variables (RFC 3875 §4.1.18), where X_Forwarded_For is X-Forwarded-For.
function isLookAlike(lower: string): boolean {
  const dashed = lower.replaceAll('_', '-')
  return dropped.has(dashed) || aboutClient.has(dashed) || isEdgeOnly(dashed)
}

function isEdgeOnly(lower: string): boolean {
  return lower.startsWith('x-') && (lower.startsWith('x-forwarded-') || lower.startsWith('x-atelier-'))
}
