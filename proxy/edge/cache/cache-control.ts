/** What a Cache-Control header says, as far as a shared cache needs it; times in seconds. */
export type CacheControl = {
  /** It may not be kept by a shared cache, or not without asking each time. */
  isForbidden: boolean
  isPublic: boolean
  maxAge: number | null
  sharedMaxAge: number | null
  staleWhileRevalidate: number
  staleIfError: number
  /** Never to be served past its time without asking (RFC 9111 §5.2.2.2, §5.2.2.8). */
  mustRevalidate: boolean
}

const remembered = new Map<string, CacheControl>()
const maxRemembered = 200
const maxRememberedLength = 400
const directive = /([^\s,;="]+)\s*(?:=\s*(?:"([^"]*)"|([^\s,;"]*)))?/g
const longestSec = 10 * 366 * 86_400

/**
 * Reads a Cache-Control or CDN-Cache-Control header. In doubt for the careful side: of a time that is said twice the shorter counts, one that
 * is no number is 0, and `private="x"` or `no-cache="x"` are read as if they meant the whole answer.
 */
export function readCacheControl(header: string): CacheControl {
  const known = remembered.get(header)
  if (known) return known
  const read = parse(header)
  if (header.length > maxRememberedLength) return read
  if (remembered.size >= maxRemembered) remembered.clear()
  remembered.set(header, read)
  return read
}

/**
 * The header as clients get it: what is said to shared caches alone is left out. A browser would take `stale-while-revalidate` for itself, and
 * show for as long as that says what was purged or replaced here.
 */
export function forClients(header: string): string {
  const kept = [...header.matchAll(directive)]
    .map(([text, name = '']) => ({ text: text.trim(), name: name.toLowerCase() }))
    .filter(({ name }) => !sharedOnly.has(name))
  if (!kept.some(({ name }) => name === 'max-age')) {
    kept.push({ text: 'max-age=0', name: 'max-age' })
    if (!kept.some(({ name }) => name === 'must-revalidate'))
      kept.push({ text: 'must-revalidate', name: 'must-revalidate' })
  }
  return kept.map(({ text }) => text).join(', ')
}

/**
 * Whether some cache between this one and the client may serve this header's answer to somebody else without asking: it lasts, and nothing keeps it to one client or
 * has each use checked (RFC 9111 §3, §4.2.1, §5.2.2). `public` alone counts as well: caches then guess for how long.
 */
export function isForEverybody(header: string): boolean {
  const { isForbidden, isPublic, maxAge, sharedMaxAge } = readCacheControl(header)
  if (isForbidden) return false
  const lastsSec = sharedMaxAge ?? maxAge
  return lastsSec === null ? isPublic : lastsSec > 0
}

const sharedOnly = new Set(['s-maxage', 'stale-while-revalidate', 'stale-if-error', 'proxy-revalidate'])
const forbidding = new Set(['private', 'no-store', 'no-cache'])

function parse(header: string): CacheControl {
  const said = new Map<string, string>()
  for (const [, name = '', quoted, plain] of header.matchAll(directive)) {
    const lower = name.toLowerCase()
    const value = quoted ?? plain ?? ''
    const before = said.get(lower)
    said.set(lower, before === undefined || seconds(value) < seconds(before) ? value : before)
  }
  const time = (name: string) => seconds(said.get(name) ?? '0')
  return {
    isForbidden: said.keys().some((name) => forbidding.has(name)),
    isPublic: said.has('public'),
    maxAge: said.has('max-age') ? time('max-age') : null,
    sharedMaxAge: said.has('s-maxage') ? time('s-maxage') : null,
    staleWhileRevalidate: time('stale-while-revalidate'),
    staleIfError: time('stale-if-error'),
    mustRevalidate: said.has('must-revalidate') || said.has('proxy-revalidate'),
  }
}

function seconds(text: string): number {
  return /^\d+$/.test(text) ? Math.min(Number(text), longestSec) : 0
}
