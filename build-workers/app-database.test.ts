import { afterAll, expect, test } from 'vitest'
import { renewLease } from '../registry/edges.ts'
import { every } from '../registry/schedule.ts'
import { TestWorker } from '../test/support/build-worker.ts'

const worker = await TestWorker.start({ ATELIER_BUILD_TIMEOUT_SEC: '15' })
const away = await TestWorker.start({ ATELIER_APPS_DATABASE_URL: 'postgres://me:pw@localhost/x?host=/nowhere' })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  await away[Symbol.asyncDispose]()
})

const site = (config: object) => ({ 'index.html': 'one', 'atelier.config.json': config })

test('a database server that is away fails the deploy with one sentence, and what is live stays', async () => {
  const app = await away.createApp()
  const live = await away.deploy(app, site({}))
  const failed = await away.deploy(app, site({ database: { provision: true } }))
  expect(failed.deployment).toMatchObject({ state: 'failed', errorCode: 'PROVISION_FAILED', attempt: 1 })
  expect(failed.log.at(-1)).toMatch(/^-----> Failed +no database for the app: the database server cannot be reached/)
  expect((await away.read(live.deployment)).deployment.state).toBe('live')
})

test('a release command that hangs is ended with the time of the build, and what is live stays', async () => {
  const app = await worker.createApp()
  const live = await worker.deploy(app, site({ database: { provision: true } }))
  const failed = await worker.deploy(app, site({ database: { provision: true, release: 'sleep 1000' } }))
  expect(failed.deployment).toMatchObject({ state: 'failed', errorCode: 'BUILD_LIMIT' })
  expect(failed.deployment.stateReason).toMatch(/release command sleep 1000 was still running/)
  expect((await worker.read(live.deployment)).deployment.state).toBe('live')
})

test('a migration that fails half-way leaves the file before it, nothing of itself, and what is live', async () => {
  const app = await worker.createApp()
  const config = { database: { provision: true, migrations: 'db' } }
  const live = await worker.deploy(app, { ...site(config), 'db/1.sql': 'create table a (id int);' })
  const failed = await worker.deploy(app, {
    ...site(config),
    'db/1.sql': 'create table a (id int);',
    'db/2.sql': 'create table b (id int);',
    'db/3.sql': 'create table c (id int);\ninsert into nowhere values (1);',
  })
  expect(failed.deployment).toMatchObject({ state: 'failed', errorCode: 'MIGRATION_FAILED' })
  expect(failed.deployment.stateReason).toMatch(
    /^db\/3\.sql:2: relation "nowhere" .*applied before it and kept: 2\.sql/,
  )
  expect((await worker.read(live.deployment)).deployment.state).toBe('live')
  const mended = await worker.deploy(app, { ...site(config), 'db/3.sql': 'create table c (id int);' })
  expect(mended.deployment).toMatchObject({ state: 'live', migrations: ['3.sql'] })
})

test('a folder that stays is refused where several proxies would each have one of their own', async () => {
  const app = await worker.createApp()
  await renewLease(worker.deps.sql, 'another-edge')
  const keeping = every(500, () => renewLease(worker.deps.sql, 'another-edge').then(() => undefined), {
    log: worker.deps.log,
    name: 'another edge',
  })
  const refused = await worker.deploy(app, site({ data: true }))
  await keeping.close()
  expect(refused.deployment).toMatchObject({ state: 'failed', errorCode: 'CONFIG_INVALID' })
  expect(refused.deployment.stateReason).toMatch(/^data: true keeps files on one machine, .* at 2 proxies/)
  await worker.deps.sql`delete from edges where id = 'another-edge'`
  const taken = await worker.deploy(app, site({ data: true }))
  expect(taken.deployment.stateReason).toBeNull()
})

test('a hook finds the database, its address is in no log, and a build does not have it', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    ...site({
      database: { provision: true },
      build: { script: 'echo "build: $DATABASE_URL."; mkdir -p dist; cp index.html dist', output: 'dist' },
      hooks: { preDeploy: 'echo "hook: $DATABASE_URL"' },
    }),
  })
  expect(built.deployment.stateReason).toBeNull()
  const log = built.log.join('\n')
  expect(log).toContain('build: .')
  expect(log).toMatch(/hook: postgres:\/\/app_\w{12}:\[DATABASE_URL\]@127\.0\.0\.1:\d+\/app_/)
})
