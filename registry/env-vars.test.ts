import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { listEnv, openEnvSnapshot, setEnv, snapshotEnv, unsetEnv } from './env-vars.ts'

const database = await createDatabase()
const { sql } = database
const key = randomBytes(32)
const production = { app: 'hello', environment: 'production' } as const
await createApp(sql, { id: 'hello', by: 'ada' })
afterAll(() => database[Symbol.asyncDispose]())

test('values are sealed in the database, opened for a run, and runtime-only ones kept from builds', async () => {
  await setEnv(sql, production, { values: { OPEN: 'o ✓' }, by: 'ada', key })
  await setEnv(sql, production, { values: { SECRET: 'hunter2-canary' }, runtimeOnly: true, by: 'ada', key })
  const snapshot = await snapshotEnv(sql, production)
  expect(openEnvSnapshot(snapshot, { scope: production, key, purpose: 'run' })).toEqual({
    OPEN: 'o ✓',
    SECRET: 'hunter2-canary',
  })
  expect(openEnvSnapshot(snapshot, { scope: production, key, purpose: 'build' })).toEqual({ OPEN: 'o ✓' })
  const [dump] = await sql<{ dump: string }[]>`select string_agg(env_vars::text, '') as dump from env_vars`
  expect(dump?.dump).not.toContain('hunter2')
  expect(JSON.stringify(snapshot)).not.toContain('hunter2')
})

test('previews have their own variables', async () => {
  expect(await listEnv(sql, { app: 'hello', environment: 'preview' })).toEqual([])
  expect(await unsetEnv(sql, production, ['OPEN', 'NEVER'])).toEqual(['OPEN'])
})

test.each([['PORT'], ['ATELIER_KEY'], ['A-B'], ['1A'], [''], ['A=B'], ['__proto__x y']])(
  'the name %j is refused',
  async (name) => {
    await expect(setEnv(sql, production, { values: { [name]: 'x' }, by: 'ada', key })).rejects.toThrow(
      expect.objectContaining({ code: 'ENV_NAME_ILLEGAL' }),
    )
  },
)

test('a value of a megabyte is refused', async () => {
  await expect(setEnv(sql, production, { values: { BIG: 'x'.repeat(1_000_000) }, by: 'ada', key })).rejects.toThrow(
    'BIG is larger than 64 kB',
  )
})
