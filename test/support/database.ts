import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { connect, type Sql } from '../../registry/sql.ts'
import { templateName } from './test-postgres.ts'

export type TestDatabase = {
  /** As ATELIER_DATABASE_URL takes it. */
  url: string
  /** A small pool on it. */
  sql: Sql
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * A fresh, migrated database of real Postgres: `await using database = await createDatabase()`, or once per file with
 * `const database = await createDatabase()` and `afterAll(() => database[Symbol.asyncDispose]())`. `migrated: false` gives an empty one.
 */
export async function createDatabase({
  migrated = true,
  max = 6,
}: {
  migrated?: boolean
  max?: number
} = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const adminUrl = inject('postgresUrl')
  await asAdmin(adminUrl, (admin) =>
    migrated
      ? admin`create database ${admin(name)} template ${admin(templateName)}`
      : admin`create database ${admin(name)}`,
  )

  const url = adminUrl.replace(/\/postgres\?/, `/${name}?`)
  const sql = connect(url, { max, name: 'test' })
  return {
    url,
    sql,
    [Symbol.asyncDispose]: async () => {
      await sql.end({ timeout: 1 })
      await asAdmin(adminUrl, (admin) => admin`drop database if exists ${admin(name)} with (force)`)
    },
  }
}

async function asAdmin(url: string, task: (admin: Sql) => Promise<unknown>): Promise<void> {
  const admin = connect(url, { max: 1, name: 'test admin' })
  try {
    await task(admin)
  } finally {
    await admin.end()
  }
}
