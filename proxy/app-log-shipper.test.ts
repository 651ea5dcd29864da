import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../registry/app-logs.ts'
import { createApp } from '../registry/apps.ts'
import { createLog } from '../registry/log.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { AppLogShipper } from './app-log-shipper.ts'
import type { DeploymentRef } from './deployment.ts'

let database: TestDatabase
const log = createLog('test')
log.level = 'silent'

beforeAll(async () => {
  database = await createDatabase()
  await createApp(database.sql, { id: 'chatty', by: 'test' })
})

afterAll(() => database?.[Symbol.asyncDispose]())

const ref: DeploymentRef = {
  ...{ id: 'd1', version: '1.0.0', number: 1, manifestKey: '', manifestSha256: '', envSnapshot: {} },
  ...{ appId: 'chatty', environment: 'production', label: 'chatty' },
}
const texts = async () => (await readAppLog(database.sql, 'chatty', { limit: 20_000 })).map(({ text }) => text)

test('lines arrive in order, in batches', async () => {
  const shipper = new AppLogShipper(database.sql, { log })
  for (let line = 0; line < 1_200; line++) shipper.add(ref, 'stdout', `line ${line}`)
  await expect.poll(async () => (await texts()).length).toBe(1_200)
  expect(await texts()).toEqual(Array.from({ length: 1_200 }, (_, line) => `line ${line}`))
  await shipper.close()
  await database.sql`delete from app_log_lines`
})

test('lines that come faster than they can be written are dropped, oldest first, and the log says how many', async () => {
  const late = new AppLogShipper(database.sql, { log })
  for (let line = 0; line < 7_000; line++) late.add(ref, 'stdout', `line ${line}`)
  await expect.poll(async () => (await texts()).at(-1)).toBe('line 6999')
  const kept = await texts()
  const dropped = Number(/^(\d+) lines were dropped/.exec(kept[0] ?? '')?.[1])
  expect(dropped).toBeGreaterThan(0)
  expect(kept.length - 1 + dropped).toBe(7_000)
  await late.close()
})
