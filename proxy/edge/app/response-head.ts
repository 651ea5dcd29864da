import { type IncomingMessage, STATUS_CODES } from 'node:http'
import { HeaderNames } from './header-names.ts'
import { namedByConnection } from './request-headers.ts'
import type { UpstreamResponse } from './upstream.ts'

/** A response head that may be written. `headers` are flat pairs without hop-by-hop ones; `type` is the content type, or empty. */
export type ResponseHead = {
  status: number
  reason: string
  headers: string[]
  type: string
  mayHaveBody: boolean
  /** Whether `headers` say how long the body is. */
  hasLength: boolean
  /** Whether they say that trailers follow. */
  hasTrailer: boolean
}

const dropped = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  // A word between the app and the cache.
  'cache-tag',
])
// RFC 9110 §6.5.1: what frames or routes a message, or who is let in, is said before the body or not at all.
const neverTrailers = new Set([...dropped, 'content-length', 'host', 'set-cookie', 'authorization', 'trailer'])
const fieldName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const fieldText = /^[\t\x20-\x7e\x80-\xff]*$/
const bodyless = new Set([204, 205, 304])
/** What the name of a response header asks for before the header is passed on. */
type Care = 'none' | 'drop' | 'refuse' | 'connection' | 'coding' | 'length' | 'trailer' | 'type' | 'cookie'
const special: Record<string, Care> = {
  'transfer-encoding': 'coding',
  ...{
    connection: 'connection',
    'content-length': 'length',
    trailer: 'trailer',
    'content-type': 'type',
    'set-cookie': 'cookie',
  },
}
const cares = new HeaderNames((lower, name): Care => {
  if (Object.hasOwn(special, lower)) return special[lower] ?? 'none'
  if (dropped.has(lower) || lower.startsWith('x-atelier-')) return 'drop'
  return fieldName.test(name) ? 'none' : 'refuse'
})

/**
 * Reads the head an app sent as what it is: untrusted. Returns a reason in words when it must not be passed on: a status outside 200–599,
 * control characters in the status line or a header, a body framed in a way the two ends may read differently.
 * `cookieSuffix` is the domain all apps share: a cookie set for it would reach every other app and is left out (security.md D6).
 */
export function readResponseHead(
  { status, reason, pairs: raw }: Pick<UpstreamResponse, 'status' | 'reason' | 'pairs'>,
  { cookieSuffix }: { cookieSuffix: string },
): ResponseHead | { invalid: string } {
  if (!(status >= 200 && status <= 599)) return { invalid: `its status is ${String(status).padStart(3, '0')}` }
  if (!fieldText.test(reason)) return { invalid: 'its status line holds a control character' }

  const headers: string[] = []
  let [type, coding, connection]: (string | undefined)[] = []
  const mayHaveBody = !bodyless.has(status)
  let hasLength = false
  let hasTrailer = false
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const care = cares.of(name)
    if (care !== 'none') {
      if (care === 'drop' || (care === 'cookie' && isSharedCookie(value, cookieSuffix))) continue
      if (care === 'length' && !mayHaveBody) continue
      if (care === 'refuse') return { invalid: 'the name of a header holds a character that is not allowed' }
      if (care === 'length') hasLength = true
      else if (care === 'trailer') hasTrailer = true
      else if (care === 'type') type = joined(type, value)
      else if (care === 'connection') connection = joined(connection, value)
      else if (care === 'coding') coding = joined(coding, value)
      if (care === 'connection' || care === 'coding') continue
    }
    if (!fieldText.test(value)) return { invalid: `the header ${name.toLowerCase()} holds a control character` }
    headers.push(name, value)
  }
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return { invalid: 'its transfer coding is not chunked' }
  }
  // A body has a length said before it or trailers said after it.
  let named = namedByConnection(connection)
  if (coding !== undefined && hasLength) named = new Set(named).add('content-length')
  if (coding === undefined && hasTrailer) named = new Set(named).add('trailer')
  return {
    ...{ status, reason: reason || (STATUS_CODES[status] ?? ''), type: type ?? '', mayHaveBody },
    hasLength: hasLength && named?.has('content-length') !== true,
    hasTrailer: hasTrailer && named?.has('trailer') !== true,
    headers: named ? without(headers, named) : headers,
  }
}

/**
 * The headers of an interim response that may be passed on, as pairs. They have been checked where they were read. What frames an answer is
 * left out, and cookies are: some clients would take them from here and some not.
 */
export function readInterimHeaders(pairs: string[]): string[] {
  const named = namedByConnection(headerIn(pairs, 'connection'))
  const headers: string[] = []
  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index] ?? ''
    if (cares.of(name) === 'none' && !named?.has(name.toLowerCase())) headers.push(name, pairs[index + 1] ?? '')
  }
  return headers
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`
}

function without(headers: string[], named: Set<string>): string[] {
  const isNamed = headers.map((name, index) => index % 2 === 0 && named.has(name.toLowerCase()))
  return headers.filter((_, index) => !isNamed[index - (index % 2)])
}

/** A response of node:http as it came, for `readResponseHead`. */
export function rawHead({ statusCode, statusMessage, rawHeaders }: IncomingMessage) {
  return { status: statusCode ?? 0, reason: statusMessage ?? '', pairs: rawHeaders }
}

/** The trailers that may be passed on, as pairs. */
export function readTrailers(rawTrailers: string[]): [string, string][] {
  const trailers: [string, string][] = []
  for (let index = 0; index < rawTrailers.length; index += 2) {
    const name = rawTrailers[index] ?? ''
    const value = rawTrailers[index + 1] ?? ''
    if (fieldName.test(name) && fieldText.test(value) && !neverTrailers.has(name.toLowerCase()))
      trailers.push([name, value])
  }
  return trailers
}

/** The value of a header, values of repeated ones with commas between; undefined: it is not there. */
export function headerIn(pairs: string[], lower: string): string | undefined {
  let found: string | undefined
  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index] ?? ''
    if (name.length !== lower.length || name.toLowerCase() !== lower) continue
    found = found === undefined ? pairs[index + 1] : `${found}, ${pairs[index + 1]}`
  }
  return found
}

/** Whether a Set-Cookie is for the apps' common domain or one above it. */
export function isSharedCookie(cookie: string, suffix: string): boolean {
  const domain = /;\s*domain\s*=\s*\.?([^;\s]*)/i.exec(cookie)?.[1]?.toLowerCase()
  return domain !== undefined && domain !== '' && (suffix === domain || suffix.endsWith(`.${domain}`))
}
