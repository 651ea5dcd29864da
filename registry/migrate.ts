import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TransactionSql } from 'postgres'
import type { Sql } from './sql.ts'

const migrationsDir = join(import.meta.dirname, '../migrations')
const lockKey = 7_283_645_501

/**
 * Applies the numbered SQL files that have not been applied yet, each in its own transaction, under one advisory lock: any number of
 * processes may call this at once. Returns the names applied. A database that is ahead of the files (a newer Atelier wrote it) is refused.
 */
export async function migrate(sql: Sql, directory = migrationsDir): Promise<string[]> {
  const files = (await readdir(directory)).filter((name) => /^\d{4}_[a-z0-9_]+\.sql$/.test(name)).sort()
  const done: string[] = []
  for (;;) {
    const name = await sql.begin((tx) => applyNext(tx, directory, files))
    if (name === null) return done
    done.push(name)
  }
}

/** Applies the first pending file; null when there is none. Whole or not at all, and one process at a time. */
async function applyNext(tx: TransactionSql, directory: string, files: string[]): Promise<string | null> {
  await tx`select pg_advisory_xact_lock(${lockKey})`
  await tx`
    create table if not exists migrations (
      name text primary key,
      applied_at timestamptz not null default now()
    )
  `
  const applied = new Set((await tx<{ name: string }[]>`select name from migrations`).map(({ name }) => name))
  const unknown = [...applied].filter((name) => !files.includes(name))
  if (unknown.length > 0)
    throw new Error(`the database was migrated by a newer Atelier (${unknown.join(', ')}); start that version`)

  const name = files.find((file) => !applied.has(file))
  if (name === undefined) return null
  await tx.unsafe(await readFile(join(directory, name), 'utf8'))
  await tx`insert into migrations (name) values (${name})`
  return name
}
