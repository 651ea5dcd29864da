import { cp, mkdtemp, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { migrate } from './migrate.ts'
import { connect } from './sql.ts'

const migrations = join(import.meta.dirname, '../migrations')

test('an empty database gets every migration once, however many processes start at the same time', async () => {
  await using database = await createDatabase({ migrated: false })
  const pools = Array.from({ length: 20 }, () => connect(database.url, { max: 1 }))
  const applied = await Promise.all(pools.map((pool) => migrate(pool)))
  await Promise.all(pools.map((pool) => pool.end()))

  expect(applied.flat().sort()).toEqual((await readdir(migrations)).sort())
  expect(await migrate(database.sql)).toEqual([])
})

test('a migration that fails leaves nothing behind and the next start tries it again', async () => {
  await using database = await createDatabase()
  const directory = await mkdtemp(join(tmpdir(), 'migrations-'))
  await cp(migrations, directory, { recursive: true })
  await writeFile(join(directory, '9998_broken.sql'), 'create table half (id int); select 1/0')
  await expect(migrate(database.sql, directory)).rejects.toThrow('division by zero')
  expect(await database.sql`select to_regclass('half') as half`).toEqual([{ half: null }])

  await writeFile(join(directory, '9998_broken.sql'), 'create table half (id int)')
  expect(await migrate(database.sql, directory)).toEqual(['9998_broken.sql'])
})

test('a database that a newer Atelier migrated is refused', async () => {
  await using database = await createDatabase()
  await database.sql`insert into migrations (name) values ('9999_future.sql')`
  await expect(migrate(database.sql)).rejects.toThrow('newer Atelier')
})
