import { afterAll, expect } from 'vitest'
import { test } from './support/atelier.ts'
import { reachableDatabase } from './support/reachable-database.ts'

const database = await reachableDatabase()
afterAll(() => database[Symbol.asyncDispose]())
test.override('platformEnv', { ATELIER_EGRESS_ALLOW: database.egressAllow })

test('a push migrates the app’s database, and one whose migration fails is refused with file and line', async ({
  atelier,
}) => {
  await atelier.createApp('ledger')
  const repo = await atelier.clone({ name: 'ledger' })
  const set = await atelier.cli(['env', 'set', `DATABASE_URL=${database.url}`, '--runtime-only', '--app', 'ledger'])
  expect(set).toMatchObject({ code: 0 })
  await repo.commit({
    'index.html': 'one',
    'atelier.config.ts': "export default { database: { migrations: 'db' } }",
    'db/001_entries.sql': 'create table entries (id int primary key);\n',
  })
  const pushed = await repo.push()
  expect(pushed.remote.join('\n')).toMatch(
    /-----> Migrating +db\/\*\.sql\n +001_entries\.sql \d+ ms\n +db\/\*\.sql: 1 applied/,
  )
  expect(pushed.remote.join('\n')).not.toContain(database.url)
  expect((await atelier.get('ledger', '/db/001_entries.sql')).status).toBe(404)
  expect(await database.sql`select name from atelier_migrations`).toMatchObject([{ name: '001_entries.sql' }])

  await repo.commit({
    'index.html': 'two',
    'db/002_bad.sql': 'insert into entries values (1);\nalter table nowhere add a int;\n',
  })
  await expect(repo.push()).rejects.toMatchObject({
    result: {
      stderr: expect.stringMatching(
        /\[remote rejected\] main -> main \(db\/002_bad\.sql:2: relation "nowhere" does not exist/,
      ),
    },
  })
  expect(await database.sql`select id from entries`).toEqual([])
  expect((await atelier.get('ledger', '/')).body).toBe('one')
})
