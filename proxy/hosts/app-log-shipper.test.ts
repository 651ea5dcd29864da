import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../../registry/app-logs.ts'
import { createApp } from '../../registry/apps.ts'
import { createLog } from '../../registry/log.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import type { DeploymentRef } from '../edge/deployment.ts'
import { AppLogShipper } from './app-log-shipper.ts'

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

test('an app that logs without end gets a bounded share of the log, and one that is quiet all of its own', async () => {
  await createApp(database.sql, { id: 'quiet', by: 'test' })
  await database.sql`delete from app_log_lines`
  const shipper = new AppLogShipper(database.sql, { log })
  const long = 'x'.repeat(4_000)
  for (let round = 0; round < 30; round++) {
    for (let line = 0; line < 400; line++) shipper.add(ref, 'stdout', long)
    await expect.poll(async () => (await texts()).length, { interval: 5 }).toBeGreaterThan(0)
  }
  shipper.add({ ...ref, appId: 'quiet' }, 'stdout', 'hello')
  shipper.add(ref, 'platform', 'it is started again')
  await expect.poll(async () => (await texts()).at(-1)).toBe('it is started again')
  expect((await readAppLog(database.sql, 'quiet')).map(({ text }) => text)).toEqual(['hello'])
  const kept = await texts()
  expect(kept.join('').length).toBeLessThan(12 * 1_048_576)
  expect(kept.filter((text) => /lines were dropped: the app writes faster/.test(text))).not.toEqual([])
  await shipper.close()
})
