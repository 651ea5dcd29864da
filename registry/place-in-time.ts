import type { Db } from './sql.ts'

/** Where an entry stands in a list by time: microseconds since 1970, and its id, for several may have been made in the same one. */
export type PlaceInTime = [micros: string, id: string]

/** A column's time as a place has it: a Date would lose the microseconds, and entries with them. */
export function microsOf(sql: Db, column: string) {
  return sql`(extract(epoch from ${sql(column)}) * 1000000)::bigint::text`
}

/** The time again. */
export function momentAt(sql: Db, micros: string) {
  return sql`(timestamptz 'epoch' + ${micros}::text::bigint * interval '1 microsecond')`
}
