import type { IncomingMessage } from 'node:http'
import { isForwarded, namedByConnection } from '../app/request-headers.ts'
import { headerIn } from '../app/response-head.ts'
import { type CacheControl, readCacheControl } from './cache-control.ts'

/** For how long an answer may be served, in milliseconds: as fresh; after that while a new one is fetched; after that when the app fails. */
export type Lifetime = { freshMs: number; staleWhileRevalidateMs: number; staleIfErrorMs: number }

/** What an app grants a cache that serves everybody. `vary` names the request headers an answer is for, sorted, in lower case. */
export type Terms = { lifetime: Lifetime; vary: readonly string[]; tags: readonly string[]; ageMs: number }

export const tagLimits = { count: 128, length: 256 } as const

const storableStatuses = new Set([200, 301, 308, 404, 410])
const maxVaryNames = 10
// Of Next.js, for editors: with it pages are made anew that everybody else has from a cache.
const draftCookie = '__prerender_bypass='
const neverVary = new Set(['*', 'cookie', 'authorization'])
// What the key holds already, or what the copies an entry is kept in are for.
const varyInKey = new Set(['accept-encoding', 'host', 'x-forwarded-host', 'x-forwarded-proto'])

/**
 * Whether a cached answer may be looked up for this request. Not with Authorization, whatever the answer says (security.md A5), not for who
 * looks at drafts, and not when a Connection header has the edge take headers away that an answer may be for.
 */
export function mayLookUp({ method, headers }: IncomingMessage): boolean {
  return (
    (method === 'GET' || method === 'HEAD') &&
    headers.authorization === undefined &&
    !headers.cookie?.includes(draftCookie) &&
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] === undefined || headers['content-length'] === '0') &&
    namedByConnection(headers.connection) === null
  )
}

/**
 * The terms on which this answer may be kept for everybody; null: it may not. Narrower than RFC 9111 allows: only a cache that is spoken to
 * (`s-maxage`, `public` with `max-age`, CDN-Cache-Control) keeps anything, and nothing is guessed. `pairs` are the headers as the app sent them.
 */
export function readTerms(status: number, pairs: string[]): Terms | null {
  const targeted = headerIn(pairs, 'cdn-cache-control')
  const control = targeted ?? headerIn(pairs, 'cache-control')
  if (control === undefined || !storableStatuses.has(status)) return null
  const lifetime = lifetimeOf(readCacheControl(control), targeted !== undefined)
  if (!lifetime || headerIn(pairs, 'set-cookie') !== undefined) return null
  if (headerIn(pairs, 'content-range') !== undefined || headerIn(pairs, 'trailer') !== undefined) return null
  const vary = readVary(headerIn(pairs, 'vary'))
  const tags = readTags(headerIn(pairs, 'cache-tag'))
  if (!vary || !tags) return null
  return { lifetime, vary, tags, ageMs: readAge(headerIn(pairs, 'age')) }
}

/** Values of the headers an answer is for, as one string that tells variants apart. */
export function variantOf(vary: readonly string[], { headers }: IncomingMessage): string {
  let variant = ''
  for (const name of vary) variant += `${String(headers[name] ?? '\n')}\0`
  return variant
}

/** Tags of a Cache-Tag header; null when there are more, or longer ones, than are kept: an answer that no purge would find is not stored. */
export function readTags(header: string | undefined): string[] | null {
  if (header === undefined) return []
  const tags = new Set(header.split(',').map((tag) => tag.trim()))
  tags.delete('')
  if (tags.size > tagLimits.count) return null
  return [...tags].some((tag) => tag.length > tagLimits.length) ? null : [...tags]
}

function lifetimeOf(control: CacheControl, isTargeted: boolean): Lifetime | null {
  const { isForbidden, isPublic, maxAge, sharedMaxAge, mustRevalidate } = control
  const freshSec = sharedMaxAge ?? (isPublic || isTargeted ? maxAge : null)
  if (isForbidden || freshSec === null) return null
  const [whileSec, errorSec] = mustRevalidate ? [0, 0] : [control.staleWhileRevalidate, control.staleIfError]
  if (freshSec === 0 && whileSec === 0) return null
  return { freshMs: freshSec * 1000, staleWhileRevalidateMs: whileSec * 1000, staleIfErrorMs: errorSec * 1000 }
}

// A header that the edge itself writes or takes away has for the app another value than the client's.
function readVary(header: string | undefined): string[] | null {
  if (header === undefined) return []
  const names = new Set(header.split(',').map((name) => name.trim().toLowerCase()))
  names.delete('')
  const kept = [...names].filter((name) => !varyInKey.has(name))
  if (kept.length > maxVaryNames || kept.some((name) => neverVary.has(name) || !isForwarded(name))) return null
  return kept.sort()
}

function readAge(header: string | undefined): number {
  return header !== undefined && /^\d{1,9}$/.test(header) ? Number(header) * 1000 : 0
}
