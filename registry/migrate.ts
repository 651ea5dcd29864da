import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sql } from './sql.ts'

const migrationsDir = join(import.meta.dirname, '../migrations')
const lockKey = 7_283_645_501

/**
 * Applies the numbered SQL files that have not been applied yet, each in its own transaction, under one advisory lock: any number of
 * processes may call this at once. Returns the names applied. A database that is ahead of the files (a newer Atelier wrote it) is refused.
 */
export async function migrate(sql: Sql, directory = migrationsDir): Promise<string[]> {
  const files = (await readdir(directory)).filter((name) => /^\d{4}_[a-z0-9_]+\.sql$/.test(name)).sort()
  const connection = await sql.reserve()
  try {
    await connection`select pg_advisory_lock(${lockKey})`
    await connection`
      create table if not exists migrations (
        name text primary key,
        applied_at timestamptz not null default now()
      )
    `
    const applied = new Set((await connection<{ name: string }[]>`select name from migrations`).map(({ name }) => name))
    const unknown = [...applied].filter((name) => !files.includes(name))
    if (unknown.length > 0)
      throw new Error(`the database was migrated by a newer Atelier (${unknown.join(', ')}); start that version`)

    const pending = files.filter((name) => !applied.has(name))
    for (const name of pending) {
      const text = await readFile(join(directory, name), 'utf8')
      // One simple query is one implicit transaction: it applies whole or not at all.
      await connection.unsafe(`${text};\ninsert into migrations (name) values ('${name}')`)
    }
    return pending
  } finally {
    await connection`select pg_advisory_unlock(${lockKey})`
    connection.release()
  }
}
