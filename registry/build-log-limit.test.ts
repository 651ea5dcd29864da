import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { appendBuildLog, readBuildLog } from './build-logs.ts'
import { createDeployment } from './deployments.ts'

const database = await createDatabase()
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())

test('B4: a log keeps its first 16 MB, says so once, and goes on being followed to its end', async () => {
  await createApp(sql, { id: 'loud', by: 'ada' })
  const target = targetOfBranch({ id: 'loud', productionBranch: 'main' }, 'main')
  const { id } = await createDeployment(sql, { app: 'loud', target, version: '1.0.0', source: 'upload', by: 'ada' })
  const megabyte = Array.from({ length: 256 }, (_, index) => `${index}`.padEnd(4_000, 'x'))
  for (let written = 0; written < 24; written++) await appendBuildLog(sql, id, megabyte)
  const lines = await readBuildLog(sql, id, { limit: 100_000 })
  expect(lines.filter(({ text }) => text === 'the log is longer than 16 MB; the rest is not kept')).toHaveLength(1)
  expect(lines.at(-1)?.text).toBe('the log is longer than 16 MB; the rest is not kept')
  const bytes = lines.reduce((sum, { text }) => sum + text.length + 1, 0)
  expect(bytes).toBeGreaterThan(16 * 1_048_576)
  expect(bytes).toBeLessThan(18 * 1_048_576)
  expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, index) => index + 1))
})
