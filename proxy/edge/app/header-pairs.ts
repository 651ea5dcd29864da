import type { IncomingHttpHeaders } from 'node:http'

/** Flat header pairs as the object that node:http and httpxy read: lower-case names, repeated ones as lists. */
export function toHeaderObject(pairs: string[]): IncomingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null)
  for (let index = 0; index < pairs.length; index += 2) {
    const name = (pairs[index] ?? '').toLowerCase()
    const value = pairs[index + 1] ?? ''
    const before = headers[name]
    if (before === undefined) headers[name] = name === 'set-cookie' ? [value] : value
    else headers[name] = Array.isArray(before) ? [...before, value] : [before, value]
  }
  return headers
}
