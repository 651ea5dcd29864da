import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { authenticate, createToken, deleteToken, ensureAdminToken, newSecret } from './tokens.ts'

const database = await createDatabase()
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())

test('a token opens with its secret until it is deleted, and the secret is not in the database', async () => {
  const { token, secret } = await createToken(sql, { name: 'ci', scope: 'deploy' })
  expect(await authenticate(sql, secret)).toEqual({
    tokenId: token.id,
    name: 'ci',
    scope: 'deploy',
    limitedTo: null,
    person: null,
  })
  const rows = await sql<{ row: string }[]>`select tokens::text as row from tokens`
  expect(JSON.stringify(rows)).not.toContain(secret)
  await deleteToken(sql, token.id)
  expect(await authenticate(sql, secret)).toBeNull()
})

test.each(['', 'atl_', newSecret(), `${newSecret()}\0`, "atl_' or 1=1 --", 'x'.repeat(100_000)])(
  '%j opens nothing',
  async (secret) => {
    expect(await authenticate(sql, secret)).toBeNull()
  },
)

test('an expired token opens nothing', async () => {
  const { secret } = await createToken(sql, { name: 'old', scope: 'admin', expiresAt: new Date(Date.now() - 1000) })
  expect(await authenticate(sql, secret)).toBeNull()
})

test('the admin token is replaced by the newest one', async () => {
  const [first, second] = [newSecret(), newSecret()]
  await ensureAdminToken(sql, first)
  await ensureAdminToken(sql, second)
  expect(await authenticate(sql, first)).toBeNull()
  expect((await authenticate(sql, second))?.scope).toBe('admin')
})

test('deleting an app ends its tokens', async () => {
  await createApp(sql, { id: 'gone', by: 'ada' })
  const { secret } = await createToken(sql, { name: 'x', scope: 'deploy', appId: 'gone' })
  await sql`delete from apps where id = 'gone'`
  expect(await authenticate(sql, secret)).toBeNull()
})
