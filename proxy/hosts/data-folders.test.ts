import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createLog } from '../../registry/log.ts'
import { connect } from '../../registry/sql.ts'
import { createDatabase } from '../../test/support/database.ts'
import { DataFolders } from './data-folders.ts'

const home = await mkdtemp(join(tmpdir(), 'atl-data-'))
const platform = await createDatabase()
const sql = connect(platform.url, { max: 1 })
afterAll(async () => {
  await sql.end()
  await platform[Symbol.asyncDispose]()
  await rm(home, { recursive: true, force: true })
})

test('a database that was begun after the data was kept does not say whose it is', async () => {
  await mkdir(join(home, 'data/abcdef123456'), { recursive: true })
  const look = async () => {
    const folders = new DataFolders({ home, limitMb: 1, sql, log: createLog('proxy') })
    // It looks once when it begins.
    await folders.close()
    return readdir(join(home, 'data'))
  }
  await sql`update migrations set applied_at = now() + interval '1 hour'`
  expect(await look()).toEqual(['abcdef123456'])
  await sql`update migrations set applied_at = now() - interval '1 hour'`
  expect(await look()).toEqual([])
})
