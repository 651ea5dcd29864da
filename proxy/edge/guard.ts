import type { IncomingMessage } from 'node:http'

/** A request that may be routed. `host` is lower case, without port or trailing dot; `target` is path and query as sent. */
export type Admitted = { host: string; target: string }
export type Refusal = { status: 400 | 405 | 431; reason: string }

const maxHeaders = 100
const hostPattern = /^([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])\.?(?::\d{1,5})?$/
const absoluteForm = /^https?:\/\/([^/?#]*)([^#]*)$/i

/**
 * What Node's parser lets through and no app may see: two Host headers, a request line naming another host than Host does, a Host that is
 * no host name (security.md §1), a transfer coding besides chunked (undone here it would be lost, passed on it would be read twice), chunks
 * in a version that has none. Every refusal closes the connection, for the two ends may disagree where the request ends.
 */
export function checkRequest(request: IncomingMessage): Admitted | Refusal {
  const raw = request.rawHeaders
  if (raw.length > maxHeaders * 2) return { status: 431, reason: `more than ${maxHeaders} request headers` }
  if (request.method === 'TRACE') return { status: 405, reason: 'TRACE is not served' }
  if (request.httpVersionMajor !== 1) return { status: 400, reason: 'it says it is not HTTP/1' }
  const coding = request.headers['transfer-encoding']
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || request.httpVersionMinor === 0)) {
    return { status: 400, reason: 'its body is in a transfer coding that is not read here' }
  }
  if (countHosts(raw) !== 1) return { status: 400, reason: 'a request names exactly one Host' }

  const named = request.headers.host?.toLowerCase() ?? ''
  const host = hostPattern.exec(named)?.[1]
  if (!host) return { status: 400, reason: 'the Host header is not a host name' }

  const url = request.url ?? ''
  if (url.startsWith('/')) {
    return url.includes('#') ? { status: 400, reason: 'a request path holds no fragment' } : { host, target: url }
  }
  const absolute = absoluteForm.exec(url)
  if (!absolute) return { status: 400, reason: 'the request line holds no path' }
  if (absolute[1]?.toLowerCase() !== named) {
    return { status: 400, reason: 'the request line and the Host header name different hosts' }
  }
  const path = absolute[2] ?? ''
  return { host, target: path.startsWith('/') ? path : `/${path}` }
}

export const handshakeBody = 'a WebSocket handshake has no body'

/** The same for a WebSocket handshake. It has no body: what follows it belongs to the new protocol, and only if the app takes it. */
export function checkHandshake(request: IncomingMessage): Admitted | Refusal {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
  if (length !== '0' || coding !== undefined) return { status: 400, reason: handshakeBody }
  return checkRequest(request)
}

function countHosts(raw: string[]): number {
  let hosts = 0
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}
