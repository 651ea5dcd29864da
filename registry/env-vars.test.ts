import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { differingNames, listEnv, listEnvBranches, openEnvSnapshot, setEnv, snapshotEnv, unsetEnv } from './env-vars.ts'

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

test('a branch has its own before those of all previews, for itself alone, and production has none', async () => {
  const previews = { app: 'hello', environment: 'preview' } as const
  const feature = { ...previews, branch: 'feature/x' }
  await setEnv(sql, previews, { values: { A: 'all', B: 'all' }, by: 'ada', key })
  await setEnv(sql, feature, { values: { B: 'own', C: 'own' }, runtimeOnly: true, isReadable: true, by: 'ada', key })
  const opened = async (branch: string) =>
    openEnvSnapshot(await snapshotEnv(sql, { ...previews, branch }), { scope: previews, key, purpose: 'run' })
  expect(await opened('feature/x')).toEqual({ A: 'all', B: 'own', C: 'own' })
  expect(await opened('feature')).toEqual({ A: 'all', B: 'all' })
  expect((await listEnv(sql, feature, key)).map(({ name, branch, value }) => [name, branch, value])).toEqual([
    ['A', null, null],
    ['B', 'feature/x', 'own'],
    ['C', 'feature/x', 'own'],
  ])
  expect(await listEnvBranches(sql, 'hello')).toEqual(['feature/x'])
  expect(await snapshotEnv(sql, { ...production, branch: 'feature/x' })).not.toHaveProperty('C')
  expect(await unsetEnv(sql, feature, ['A', 'B', 'C'])).toEqual(['B', 'C'])
  expect(await opened('feature/x')).toEqual({ A: 'all', B: 'all' })
  await unsetEnv(sql, previews, ['A', 'B'])
})

test('what is set to what it was stays as it is, flags too unless they are named', async () => {
  const set = (values: Record<string, string>, more: { runtimeOnly?: boolean; isReadable?: boolean } = {}) =>
    setEnv(sql, production, { values, by: 'ada', key, ...more })
  expect(await set({ X: '1', Y: '1' }, { runtimeOnly: true, isReadable: true })).toEqual(['X', 'Y'])
  const before = await snapshotEnv(sql, production)
  expect(await set({ X: '1', Y: '2' })).toEqual(['Y'])
  const after = await snapshotEnv(sql, production)
  expect(after['X']).toEqual(before['X'])
  expect(after['Y']).toMatchObject({ runtime_only: true })
  expect(differingNames(before, after, { scope: production, key })).toEqual(['Y'])
  await set({ Y: '1' })
  const back = await snapshotEnv(sql, production)
  expect(back['Y']?.value).not.toBe(before['Y']?.value)
  expect(differingNames(before, back, { scope: production, key })).toEqual([])
  expect(await set({ X: '1' }, { isReadable: false })).toEqual([])
  expect(await set({ X: '1' }, { runtimeOnly: false })).toEqual(['X'])
  expect((await listEnv(sql, production, key)).find(({ name }) => name === 'X')).toMatchObject({
    runtimeOnly: false,
    value: null,
  })
  await unsetEnv(sql, production, ['X', 'Y'])
})

test('previews have their own variables', async () => {
  expect(await listEnv(sql, { app: 'hello', environment: 'preview' }, key)).toEqual([])
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
