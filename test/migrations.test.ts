import { expect, test } from 'vitest'
import { migrate } from '../registry/migrate.ts'
import { createDatabase } from './support/database.ts'

test('migrations apply to an empty database, and a second time do nothing', async () => {
  await using database = await createDatabase({ migrated: false })
  expect(await migrate(database.sql)).toContain('0001_platform.sql')
  expect(await migrate(database.sql)).toEqual([])
})

test('twenty processes may migrate at once', async () => {
  await using database = await createDatabase({ migrated: false, max: 20 })
  const applied = await Promise.all(Array.from({ length: 20 }, () => migrate(database.sql)))
  expect(applied.flat().sort()).toEqual([...new Set(applied.flat())].sort())
})

test('each test database starts from the migrated template, apart from the others', async () => {
  await using one = await createDatabase()
  await using two = await createDatabase()
  await one.sql`insert into apps (id, created_by) values ('hello', 'test')`
  expect(await one.sql`select id from apps`).toHaveLength(1)
  expect(await two.sql`select id from apps`).toHaveLength(0)
})
