import { afterAll, expect, test } from 'vitest'
import { createDeployment, type Deployment } from '../registry/deployments.ts'
import { type Built, type TestFiles, TestWorker } from '../test/support/build-worker.ts'
import { reachableDatabase } from '../test/support/reachable-database.ts'
import { stepIn } from '../test/support/steps.ts'

// Each test has a database of its own, behind the one relay's address.
const databases = await Promise.all(Array.from({ length: 10 }, () => reachableDatabase()))
const all = [...databases]
const egressAllow = all.map((database) => database.egressAllow).join()
const worker = await TestWorker.start({ ATELIER_EGRESS_ALLOW: egressAllow })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  for (const database of all) await database[Symbol.asyncDispose]()
})

const page = { 'index.html': 'hi' }
const wanted = { 'atelier.config.json': { database: { migrations: 'migrations' } } }
const users = "create table users (\n  id int primary key,\n  name text\n);\ninsert into users values (1, 'a;b');\n"

async function appWithDatabase() {
  const database = databases.pop()
  if (!database) throw new Error('there are fewer databases than tests')
  const app = await worker.createApp()
  await worker.setEnv(app, { DATABASE_URL: database.url }, { runtimeOnly: true })
  const deploy = (files: TestFiles) => worker.deploy(app, { ...page, ...wanted, ...files })
  return { app, sql: database.sql, deploy }
}

function redeploy({ deployment }: Built): Promise<Deployment> {
  const { appId: app, version, sourceKey, buildId } = deployment
  const model = { app, version, sourceKey, buildId, target: deployment, source: 'redeploy' as const, by: 'test' }
  return createDeployment(worker.deps.sql, { ...model, options: { canary: 'skip' } })
}

test('pending migrations run once, in the order of their names, before anything is verified', async () => {
  const { sql, deploy } = await appWithDatabase()
  const first = await deploy({
    'migrations/0001_users.sql': users,
    'migrations/0002_more.sql': "insert into users values (2, 'b')",
  })
  expect(first.deployment).toMatchObject({ state: 'live', migrations: ['0001_users.sql', '0002_more.sql'] })
  expect(stepIn(first.log, 'Migrating')).toBeDefined()
  const at = (text: string) => first.log.findIndex((line) => line.includes(text))
  expect(at('-----> Migrating')).toBeLessThan(at('-----> Verifying'))
  expect(first.log.join('\n')).toMatch(/migrations\/\*\.sql: 2 applied/)

  const second = await deploy({
    'migrations/0001_users.sql': users,
    'migrations/0002_more.sql': "insert into users values (2, 'changed')",
    'migrations/0003_again.sql': "insert into users values (3, 'c')",
    'migrations/0003_again.down.sql': 'drop table users',
  })
  expect(second.log.join('\n')).toMatch(/migrations\/\*\.sql: 1 applied, 2 before/)
  expect(second.log.join('\n')).toContain('0002_more.sql is not as it was when it was applied')
  expect(await sql`select id, name from users order by id`).toMatchObject([
    { name: 'a;b' },
    { name: 'b' },
    { name: 'c' },
  ])
  const again = await worker.build(await redeploy(second))
  expect(again.deployment).toMatchObject({ state: 'live', migrations: [] })
  expect(again.log.join('\n')).toContain('migrations/*.sql: none is pending')
})

test('a migration that fails half-way leaves nothing of itself, says file and line, and keeps the old version live', async () => {
  const { sql, deploy } = await appWithDatabase()
  const { deployment: live } = await deploy({ 'migrations/0001_users.sql': users })
  const bad = "-- more people\ninsert into users values (7, 'x');\n\ninsert into users\n  values (1, 'twice');\n"
  const failed = await deploy({
    'migrations/0001_users.sql': users,
    'migrations/0002_good.sql': "insert into users values (5, 'e')",
    'migrations/0003_bad.sql': bad,
  })
  expect(failed.deployment).toMatchObject({
    state: 'failed',
    errorCode: 'MIGRATION_FAILED',
    migrations: ['0002_good.sql'],
    stateReason: expect.stringMatching(
      /^migrations\/0003_bad\.sql:4: duplicate key value .*; nothing of it is applied; applied before it and kept: 0002_good\.sql$/,
    ),
  })
  expect(failed.log).toContain('         Key (id)=(1) already exists.')
  expect(failed.log.join('\n')).not.toContain('Verifying')
  expect((await worker.read(live)).deployment.state).toBe('live')
  expect(await sql`select id from users order by id`).toMatchObject([{ id: 1 }, { id: 5 }])

  const mended = await deploy({
    'migrations/0001_users.sql': users,
    'migrations/0002_good.sql': "insert into users values (5, 'e')",
    'migrations/0003_bad.sql': "insert into users values (7, 'x')",
  })
  expect(mended.deployment).toMatchObject({ state: 'live', migrations: ['0003_bad.sql'] })
})

test('the line of a mistake is the one Postgres points at', async () => {
  const { deploy } = await appWithDatabase()
  const { deployment, log } = await deploy({
    'migrations/1.sql': "select 'é😀';\nselect 1,\n  nothing_of_that_name;\n",
  })
  expect(deployment.stateReason).toMatch(/^migrations\/1\.sql:3: column "nothing_of_that_name" does not exist/)
  expect(log).toContain('         nothing_of_that_name;')
})

test.each([
  [
    'a transaction of its own',
    'create table a (b int);\ncommit;\n',
    /^migrations\/1\.sql:2: commit: each file is a transaction as it is/,
  ],
  [
    'what cannot be in a transaction',
    'create table a (b int);\ncreate index concurrently c on a (b);',
    /^migrations\/1\.sql:2: .*transaction/,
  ],
  ['commands of psql', 'select 1;\n\\d', /^migrations\/1\.sql:2: syntax error/],
])('a migration with %s is refused', async (_, text, reason) => {
  const { deploy, sql } = await appWithDatabase()
  const { deployment } = await deploy({ 'migrations/1.sql': text })
  expect(deployment).toMatchObject({ errorCode: 'MIGRATION_FAILED', stateReason: expect.stringMatching(reason) })
  expect(await sql`select relname from pg_class where relname = 'a'`).toEqual([])
})

test('a migration that waits for a lock of the live version gives up, and says what it waited for', async () => {
  const { deploy, sql } = await appWithDatabase()
  const first = { 'migrations/1.sql': users }
  await deploy(first)
  await sql.begin(async (tx) => {
    await tx`lock table users`
    const text = "set local lock_timeout = '200ms';\nalter table users add column b int;\n"
    const { deployment, log } = await deploy({ ...first, 'migrations/2.sql': text })
    expect(deployment.stateReason).toMatch(/^migrations\/2\.sql:2: canceling statement due to lock timeout/)
    expect(log.join('\n')).toContain('it waited for a lock that somebody else holds, such as the live version')
  })
  const { deployment } = await deploy({ ...first, 'migrations/2.sql': 'alter table users add column b int' })
  expect(deployment).toMatchObject({ state: 'live', migrations: ['2.sql'] })
})

test('two deployments at once apply each migration once', async () => {
  const { app, sql } = await appWithDatabase()
  const slow = 'select pg_sleep(0.5);\ncreate table once (a int);\nset search_path = nowhere;\n'
  const files = {
    ...page,
    ...wanted,
    'migrations/1.sql': slow,
    'migrations/2.sql': 'insert into public.once values (1)',
  }
  const [one, other] = await Promise.all([worker.push(app, files), worker.createApp()])
  await worker.setEnv(other, { DATABASE_URL: databaseOf(sql) }, { runtimeOnly: true })
  const built = await Promise.all([worker.build(one), worker.deploy(other, files)])
  expect(built.map(({ deployment }) => deployment.stateReason)).toEqual([null, null])
  expect(built.flatMap(({ deployment }) => deployment.migrations).sort()).toEqual(['1.sql', '2.sql'])
  expect(await sql`select a from public.once`).toHaveLength(1)
})

test('a release command runs with the app’s variables and dependencies in the app’s network, and refuses by failing', async () => {
  const { app, sql, deploy } = await appWithDatabase()
  const knock = `
    const { connect } = require('node:net')
    const { hostname, port } = new URL(process.env.DATABASE_URL)
    const socket = connect(port, hostname, () => { console.log('reached it'); process.exit(process.env.FAIL ? 4 : 0) })
    socket.on('error', (error) => { console.log(error.message); process.exit(1) })`
  const files = { 'release.js': knock, 'atelier.config.json': { database: { release: 'release.js' } } }
  const { deployment, log } = await deploy(files)
  expect(deployment.stateReason).toBeNull()
  expect(log).toContain('       reached it')
  expect(await sql`select 1 from pg_class where relname = 'atelier_migrations'`).toEqual([])

  await worker.setEnv(app, { FAIL: 'yes' })
  const refused = await deploy(files)
  expect(refused.deployment).toMatchObject({
    state: 'failed',
    errorCode: 'RELEASE_FAILED',
    stateReason: 'release command release.js exited with 4',
  })
  expect((await worker.read(deployment)).deployment.state).toBe('live')
})

test('migrations without a database, without their folder or for another kind of database are refused with what to do', async () => {
  const app = await worker.createApp()
  const deploy = async (files: TestFiles) =>
    (await worker.deploy(app, { ...page, ...wanted, ...files })).deployment.stateReason
  const one = { 'migrations/1.sql': 'select 1' }
  expect(await deploy(one)).toBe(
    'migrations has an .sql file, and DATABASE_URL is not set; atelier env set DATABASE_URL=…',
  )
  expect(await deploy({})).toBe('database.migrations is migrations, and there is no such folder')
  await worker.setEnv(app, { DATABASE_URL: 'mysql://root@db/app' })
  expect(await deploy(one)).toMatch(/are for Postgres, which DATABASE_URL is not/)
  await worker.setEnv(app, { DATABASE_URL: worker.deps.config.databaseUrl ?? '' })
  expect(await deploy(one)).toMatch(/^migrations: the database at DATABASE_URL cannot be reached: /)
})

function databaseOf(sql: object): string {
  const found = all.find((database) => database.sql === sql)
  if (!found) throw new Error('not a database of these tests')
  return found.url
}
