import type { IncomingMessage } from 'node:http'
import { type ByteRange, readRange } from './byte-range.ts'
import { type Representation, type StaticFile, withValue } from './static-file.ts'

/** A range is of the plain file, or of the form that If-Range names; with any other If-Range (a date too: files here have none) it is no range. */
export function askedRange(
  { headers, method }: IncomingMessage,
  file: StaticFile,
): { form: Representation; range: ByteRange | 'unsatisfiable' } | null {
  if (method !== 'GET') return null
  const condition = headers['if-range']
  const form = condition === undefined ? file.plain : file.byEtag(String(condition))
  const range = form && readRange(headers.range, form.size)
  return range && { form, range }
}

/** The headers of a 206, from those of the 200. */
export function partHeaders(whole: string[], size: number, { start, end }: ByteRange): string[] {
  return [
    ...withValue(whole, 'content-length', String(end - start + 1)),
    'content-range',
    `bytes ${start}-${end}/${size}`,
  ]
}

/** Whether a list of ETags names one, compared strongly, as If-Match is (RFC 9110 §13.1.1). */
export function names(header: string, etag: string): boolean {
  return header === etag || header.split(',').some((tag) => tag.trim() === etag || tag.trim() === '*')
}

/** The same compared weakly, as If-None-Match is. */
export function namesWeakly(header: string, etag: string): boolean {
  return names(header, etag) || names(header.replaceAll('W/', ''), etag)
}
