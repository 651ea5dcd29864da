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

test('previews of forks are told from the app’s own by what was deployed to them before', async () => {
  await using database = await createDatabase({ migrated: false })
  const { sql } = database
  const directory = await mkdtemp(join(tmpdir(), 'migrations-'))
  for (const name of await readdir(migrations))
    if (name < '0033') await cp(join(migrations, name), join(directory, name))
  await migrate(sql, directory)
  await sql`insert into apps (id, created_by) values ('hello', 'a')`
  const deployed = { own: [false], forks: [true, true], both: [true, false], none: [] }
  for (const [name, forks] of Object.entries(deployed)) {
    await sql`insert into routes (id, app_id, environment, branch, label) values (${name}, 'hello', 'preview', ${name}, ${name})`
    for (const [index, fork] of forks.entries())
      await sql`
        insert into deployments (
          id, app_id, route_id, number, version, environment, branch, label, source, input_sha256, options, state_by, created_by
        )
        select ${name + index}, 'hello', ${name}, count(*) + 1, '1', 'preview', ${name}, ${name}, 'git', '', ${sql.json(fork ? { fork } : {})}, 'a', 'a'
        from deployments
      `
  }
  expect(await migrate(sql)).toContain('0033_preview_standing.sql')
  expect(await sql`select id from routes where is_fork`).toEqual([{ id: 'forks' }])
})

test('no two migrations have one number', async () => {
  const files = await readdir(migrations)
  const numbers = files.filter((name) => name.endsWith('.sql')).map((name) => name.slice(0, 4))
  expect(numbers.length).toBeGreaterThan(30)
  expect(numbers).toHaveLength(new Set(numbers).size)
})
