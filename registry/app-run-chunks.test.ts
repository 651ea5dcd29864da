import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { putInput, putOutput, takeInput, takeOutput } from './app-run-chunks.ts'
import { createRun } from './app-runs.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { createDeployment } from './deployments.ts'

let database: TestDatabase
const key = randomBytes(32)

beforeAll(async () => {
  database = await createDatabase()
})

afterAll(() => database?.[Symbol.asyncDispose]())

test('C7: what a command writes and reads lies sealed in the database, and comes out byte for byte', async () => {
  const { sql } = database
  await createApp(sql, { id: 'hello', by: 'ada' })
  const target = targetOfBranch({ id: 'hello', productionBranch: 'main' }, 'main')
  const deployment = await createDeployment(sql, {
    app: 'hello',
    target,
    version: '1.0.0',
    source: 'upload',
    by: 'ada',
  })
  const wanted = { app: 'hello', deploymentId: deployment.id, command: ['env'], shown: 'env', by: 'ada' }
  const { id } = await createRun(sql, { ...wanted, takesInput: true, timeoutSec: 60 }, { key })
  const of = { run: id, key }
  const data = Buffer.concat([Buffer.from('canary-bytes'), randomBytes(100)])
  await putOutput(sql, of, 0, [
    { stream: 'stdout', data },
    { stream: 'stderr', data: Buffer.alloc(0) },
  ])
  await putInput(sql, of, { seq: 0, data, isLast: true })
  const rows = await sql<{ data: Buffer }[]>`select data from app_run_chunks`
  expect(rows).toHaveLength(3)
  expect(rows.filter((row) => row.data.includes('canary'))).toEqual([])
  await expect(takeOutput(sql, { run: id, key: randomBytes(32) })).rejects.toThrow('does not open')
  await putOutput(sql, of, 2, [{ stream: 'stdout', data }])
  expect(await takeOutput(sql, of)).toEqual([{ seq: 2, stream: 'stdout', data }])
  expect(await takeInput(sql, of)).toEqual([{ seq: 0, data, isLast: true }])
})
