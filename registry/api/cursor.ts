import { z } from '@hono/zod-openapi'
import { AppError } from '../errors.ts'
import { count, line } from './fields.ts'

// Long lists come in pages. A page begins after the last entry of the one before (keyset), so entries that come or go meanwhile neither repeat
// nor hide others, and the last page costs no more than the first.

/** The field of a query that takes the next page. */
export const cursorField = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,400}$/, 'must be the `next` of the page before')
  .optional()
  .openapi({ description: 'the `next` of the page before; without it: the first page' })

/** The query of a list that comes in pages: `most` entries at most, without a wish `usual`. */
export function pageQuery(most: number, usual: number) {
  return { limit: count(1, most).default(usual), cursor: cursorField }
}

/** How a place in time looks in a cursor. */
export const placeInTime = z.tuple([z.string().regex(/^\d{1,16}$/), line(40)])

/** The field of an answer that leads to the next page. */
export const nextField = z
  .string()
  .nullable()
  .openapi({ description: 'for `cursor`, to have what follows; null: that is all' })

/** What the entry is sorted by, as text that nobody has to understand. */
export function toCursor(place: unknown[]): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url')
}

/** The place again; null: from the beginning. Throws REQUEST_INVALID for what is no cursor of this list (`schema` says how it looks). */
export function readCursor<T>(cursor: string | undefined, schema: z.ZodType<T>): T | null {
  if (cursor === undefined) return null
  const read = schema.safeParse(parse(Buffer.from(cursor, 'base64url').toString()))
  if (read.success) return read.data
  throw new AppError('REQUEST_INVALID', 'query.cursor: must be the `next` of the page before')
}

/** A page of at most `limit`, of entries that were read one further; and where the next begins. */
export function pageOf<T>(
  entries: T[],
  limit: number,
  place: (entry: T) => unknown[],
): { shown: T[]; next: string | null } {
  const shown = entries.slice(0, limit)
  const last = shown.at(-1)
  return { shown, next: last && entries.length > limit ? toCursor(place(last)) : null }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
