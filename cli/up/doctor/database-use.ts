import type { Sql } from '../../../registry/sql.ts'

const answerMs = 5000

/** What a server holds: bytes of the databases that may be looked at, and of its connections those that are taken. */
export type DatabaseUse = { version: number; bytes: number; taken: number; most: number }

/** Every role may ask for it. */
export async function readUse(sql: Sql): Promise<DatabaseUse> {
  const [use] = await sql<DatabaseUse[]>`
    select current_setting('server_version_num')::integer / 10000 as version,
           coalesce(sum(case when has_database_privilege(oid, 'connect') then pg_database_size(oid) end), 0)::double precision as bytes,
           (select sum(numbackends)::integer from pg_stat_database) as taken,
           current_setting('max_connections')::integer as most
    from pg_database
  `
  if (!use) throw new Error('it says nothing of itself')
  return use
}

/** `47 MB on disk, 23 of 100 connections taken`. */
export function useText({ bytes, taken, most }: DatabaseUse): string {
  const size =
    bytes < 1_073_741_824 ? `${Math.round(bytes / 1_048_576)} MB` : `${(bytes / 1_073_741_824).toFixed(1)} GB`
  return `${size} on disk, ${taken} of ${most} connections taken`
}

/** Whether there will soon be none for who comes next. */
export function isNearlyFull({ taken, most }: DatabaseUse): boolean {
  return taken > most * 0.8
}

export async function within<T>(work: PromiseLike<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${answerMs / 1000} s`)), answerMs)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

export function withoutPassword(message: string, url: string): string {
  const { password } = new URL(url)
  return password === '' ? message : message.replaceAll(password, '…').replaceAll(decodeURIComponent(password), '…')
}
