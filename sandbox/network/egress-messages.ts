import { bareHost, type Place, placeOf } from '../../registry/egress/egress-rules.ts'

/**
 * What CONNECT names (RFC 9110 §9.3.6); null: it is no host with a port. The URL parser turns every spelling of an address (0x7f.1,
 * 2130706433) into the usual one, so that a name which is one is judged as one.
 */
export function parseAuthority(text: string): Place | null {
  const [, host = '', digits = ''] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):(\d{1,5})$/i.exec(text) ?? []
  const url = URL.parse(`http://${host}/`)
  const port = Number(digits)
  if (!host || !url || port < 1 || port > 65_535) return null
  return { host: bareHost(url.hostname), port }
}

/** The URL of a request to a proxy (RFC 9112 §3.2.2) and where it leads; null: it is not one for http://, or carries credentials. */
export function parseAbsolute(text: string): { url: URL; place: Place } | null {
  const url = /^http:\/\//i.test(text) ? URL.parse(text) : null
  if (!url || url.username || url.password || url.port === '0') return null
  return { url, place: placeOf(url) }
}

/**
 * Raw headers without what is between two neighbours only (RFC 9110 §7.6.1). How long the body is, is the parser's word: it refuses a
 * message that says two things about it.
 */
export function endToEnd(rawHeaders: string[]): string[] {
  const pairs = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [{ name, value: rawHeaders[at + 1] ?? '' }] : []))
  const named = pairs
    .filter(({ name }) => name.toLowerCase() === 'connection')
    .flatMap(({ value }) => value.toLowerCase().split(','))
    .map((option) => option.trim())
  return pairs
    .filter(({ name }) => {
      const lower = name.toLowerCase()
      if (lower === 'transfer-encoding' || lower === 'content-length') return true
      return !hopByHop.has(lower) && !lower.startsWith('proxy-') && !named.includes(lower)
    })
    .flatMap(({ name, value }) => [name, value])
}

/** A sentence as the reason phrase of a status line: package managers show that of a refused CONNECT, and nothing else. */
export function reasonPhrase(sentence: string): string {
  return sentence.replaceAll('’', "'").replace(/[^\x20-\x7e]/g, '?')
}

const hopByHop = new Set(['connection', 'keep-alive', 'te', 'trailer', 'upgrade', 'expect', 'host', 'http2-settings'])
