import { afterAll, expect, inject, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { attachDatabase, claimAppDatabase } from './app-databases.ts'
import { readAppLog } from './app-logs.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { boundDatabases } from './database-limits.ts'
import { dropAppDatabase, makeAppDatabase } from './database-server.ts'
import { createDeployment } from './deployments.ts'
import { createLog } from './log.ts'
import { connect } from './sql.ts'

const platform = await createDatabase()
const { sql } = platform
const server = { databaseUrl: platform.url, appsDatabaseUrl: null, embedded: null }
const log = createLog('registry')
log.level = 'silent'
afterAll(() => platform[Symbol.asyncDispose]())

test('a database that outgrows its limit is read-only, then closed, and as before when it has shrunk', async () => {
  await createApp(sql, { id: 'large', by: 'test' })
  const target = targetOfBranch({ id: 'large', productionBranch: 'main' }, 'main')
  const version = 'a'.repeat(40)
  const deployment = await createDeployment(sql, { app: 'large', target, version, source: 'upload', by: 'test' })
  await sql`update routes set live_deployment = ${deployment.id} where id = ${deployment.routeId}`
  const database = await claimAppDatabase(sql, deployment, { key: Buffer.alloc(32, 1), embedded: false })
  await makeAppDatabase(server, { name: database.name, password: 'pw' })
  await attachDatabase(sql, database, deployment.id)
  const own = new URL(inject('postgresUrl'))
  Object.assign(own, { username: database.name, password: 'pw', pathname: `/${database.name}` })
  const asApp = async (text: string) => {
    const app = connect(own.href, { max: 1 })
    const said = await app.unsafe(text).then(
      () => 'done',
      (thrown: { code?: string }) => thrown.code,
    )
    await app.end()
    return said
  }
  const bound = (databaseMb: number) => boundDatabases({ sql, log, config: { ...server, appLimits: { databaseMb } } })
  const told = async () => (await readAppLog(sql, 'large')).map(({ text }) => text)

  expect(await asApp("create table notes as select repeat('x', 1000) as text from generate_series(1, 10000)")).toBe(
    'done',
  )
  await bound(100)
  expect(await asApp('insert into notes values (1)')).toBe('done')
  expect(await told()).toEqual([])

  const open = connect(own.href, { max: 1 })
  await open`select 1`
  const [before] = await open<{ pid: number }[]>`select pg_backend_pid() as pid`
  await bound(16)
  expect(await told()).toEqual([expect.stringMatching(/more than 16 MB .* read-only/)])
  // What was signed in before is cut, and signs in anew.
  await expect.poll(() => open`select pg_backend_pid() as pid`.catch(() => [before])).not.toEqual([before])
  await open.end()
  expect(await asApp('insert into notes values (1)')).toBe('25006')
  expect(await asApp('begin read write; insert into notes values (1); commit')).toBe('done')
  await bound(16)
  expect(await told()).toHaveLength(1)

  await bound(8)
  expect(await asApp('select 1')).toBe('53300')
  expect((await told()).at(-1)).toMatch(/more than 16 MB .* lets nobody in/)
  await bound(16)
  expect(await asApp('begin read write; truncate notes; commit')).toBe('done')
  await bound(16)
  expect(await asApp('insert into notes values (1)')).toBe('done')
  expect((await told()).at(-1)).toBe('the database takes writes again')
  await dropAppDatabase(server, database)
})
