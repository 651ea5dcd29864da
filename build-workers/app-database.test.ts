import { afterAll, describe, expect, test } from 'vitest'
import { StepLog } from '../registry/build-logs.ts'
import { makeAppDatabase } from '../registry/database-server.ts'
import type { Deployment } from '../registry/deployments.ts'
import { renewLease } from '../registry/edges.ts'
import { dropLeftDatabases } from '../registry/reconcile.ts'
import { every } from '../registry/schedule.ts'
import { TestWorker } from '../test/support/build-worker.ts'
import { provideDatabase } from './app-database.ts'

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

describe('a preview that is removed', () => {
  const { sql, config, key, appNetworks } = worker.deps
  /** `begun`: when it is claimed, and before it is made. */
  const provide = (deployment: Deployment, begun: () => Promise<unknown> = async () => undefined) => {
    const log = new StepLog(async () => undefined, { onError: () => undefined })
    const hold: StepLog['step'] = async (...given) => {
      await begun()
      return StepLog.prototype.step.apply(log, given) as ReturnType<(typeof given)[2]>
    }
    const deps = { sql, config, key, appNetworks, hide: () => undefined, signal: new AbortController().signal }
    return provideDatabase(deployment, { wanted: true, deps: { ...deps, log: Object.assign(log, { step: hold }) } })
  }
  const pushed = async () => worker.push(await worker.createApp(), site({}), { branch: 'pr/1' })
  const remove = ({ routeId }: Deployment) => sql`delete from routes where id = ${routeId}`
  const onServer = async (name: string) =>
    (
      await sql`select datname from pg_database where datname = ${name} union all select rolname from pg_roles where rolname = ${name}`
    ).length

  test('before its database is begun ends the push with that sentence', async () => {
    const deployment = await pushed()
    await remove(deployment)
    await expect(provide(deployment)).rejects.toMatchObject({
      code: 'DEPLOYMENT_STATE',
      message: 'the preview of pr/1 was removed while it was built',
    })
  })

  test('while its database is made leaves neither database nor role', async () => {
    const deployment = await pushed()
    const providing = provide(deployment, async () => {
      await remove(deployment)
      await dropLeftDatabases(worker.deps)
    })
    await expect(providing).rejects.toMatchObject({
      code: 'DEPLOYMENT_STATE',
      message: 'the preview of pr/1 was removed while it was built',
    })
    const [row] = await sql<{ name: string }[]>`select name from app_databases where app_id = ${deployment.appId}`
    expect(await onServer(row?.name ?? '')).toBe(0)
  })

  test('while its database is made by a worker that dies then leaves neither, too', async () => {
    const deployment = await pushed()
    const access = await provide(deployment)
    const name = access?.name ?? ''
    // As it is for whoever looks before the worker has said that it is made.
    await sql`update app_databases set made_at = null where name = ${name}`
    await remove(deployment)
    const listed = async () => (await sql`select from app_databases where name = ${name}`).length
    expect(await onServer(name)).toBe(2)
    await dropLeftDatabases(worker.deps)
    expect([await onServer(name), await listed()]).toEqual([0, 1])

    await makeAppDatabase(config, { name, password: 'pw' })
    await dropLeftDatabases(worker.deps)
    expect(await onServer(name)).toBe(0)
    await sql`update app_databases set created_at = now() - interval '3 hours' where name = ${name}`
    await dropLeftDatabases(worker.deps)
    expect(await listed()).toBe(0)
  })
})
