import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { connect, type Sql } from '../registry/sql.ts'
import { TestWorker } from '../test/support/build-worker.ts'

const files = {
  'index.html': 'one',
  'atelier.config.json': { database: { provision: true, preview: 'template', migrations: 'db' } },
  'db/1.sql': 'create table notes (text text);\ncreate extension pgcrypto;',
}

describe('where no pg_dump fits the server', () => {
  test.skipIf(existsSync('/usr/lib/postgresql/18/bin/pg_dump'))(
    'a preview is refused with what to install',
    async () => {
      await using worker = await TestWorker.start()
      const app = await worker.createApp()
      expect((await worker.deploy(app, files)).deployment.stateReason).toBeNull()
      const preview = await worker.build(await worker.push(app, files, { branch: 'pr/1' }))
      expect(preview.deployment).toMatchObject({ state: 'failed', errorCode: 'PROVISION_FAILED' })
      expect(preview.deployment.stateReason).toMatch(/Postgres 18 .*postgresql-client-18\); or set it to 'empty'/)
    },
  )
})

// What comes with the distribution: the server and its own pg_dump.
const bin = '/usr/lib/postgresql/15/bin'
describe.skipIf(!existsSync(join(bin, 'postgres')))('where one does', async () => {
  const server = existsSync(join(bin, 'postgres')) ? await startServer() : null
  const worker = await TestWorker.start({ ATELIER_APPS_DATABASE_URL: server?.url ?? '' })
  afterAll(async () => {
    await worker[Symbol.asyncDispose]()
    await server?.close()
  })
  const into = (database: string | null): Sql => {
    const url = new URL(server?.url ?? '')
    url.pathname = `/${database}`
    return connect(url.href, { max: 1 })
  }

  test('a preview begins as a copy of production, which goes on meanwhile, and is not copied again', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, files)
    expect(live.deployment.stateReason).toBeNull()
    const production = into(live.deployment.database)
    await production`insert into notes select 'note ' || n from generate_series(1, 1000) n`
    const [{ pid } = { pid: 0 }] = await production<{ pid: number }[]>`select pg_backend_pid() as pid`

    const more = { ...files, 'db/2.sql': 'alter table notes add column more text;' }
    const first = await worker.build(await worker.push(app, more, { branch: 'pr/1' }))
    expect(first.deployment.stateReason).toBeNull()
    expect(first.log.join('\n')).toMatch(/ a new one for the preview of pr\/1, with what is in production's/)
    expect(first.deployment.migrations).toEqual(['2.sql'])
    const preview = into(first.deployment.database)
    expect(await preview`select count(*)::integer as notes, count(more)::integer as more from notes`).toEqual([
      { notes: 1000, more: 0 },
    ])
    expect(await production`select pg_backend_pid() as pid`).toEqual([{ pid }])

    await production`insert into notes values ('later')`
    await preview`delete from notes where text <> 'note 1'`
    const second = await worker.build(await worker.push(app, more, { branch: 'pr/1' }))
    expect(second.deployment).toMatchObject({ stateReason: null, database: first.deployment.database })
    expect(await preview`select text from notes`).toEqual([{ text: 'note 1' }])
    await Promise.all([production.end(), preview.end()])
  })

  test('a copy that fails is whole or not at all, and the next push makes it good', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, files)
    const production = into(live.deployment.database)
    // Not the app's own, so not readable for its role.
    await production.unsafe('create table locked (a int); revoke all on locked from public')
    const failed = await worker.build(await worker.push(app, files, { branch: 'pr/2' }))
    expect(failed.deployment).toMatchObject({ state: 'failed', errorCode: 'PROVISION_FAILED' })
    expect(failed.deployment.stateReason).toMatch(/cannot be copied for the preview: .*locked/)
    await production`drop table locked`
    const mended = await worker.build(await worker.push(app, files, { branch: 'pr/2' }))
    expect(mended.deployment.stateReason).toBeNull()
    expect(mended.log.join('\n')).toContain("with what is in production's")
    await production.end()
  })
})

async function startServer(): Promise<{ url: string; close(): Promise<void> }> {
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? { uid: 65_534, gid: 65_534 } : {}
  const root = await mkdtemp('/tmp/pg15-')
  await writeFile(join(root, 'password'), 'pw')
  await chmod(root, 0o700)
  if (isRoot) for (const path of [root, join(root, 'password')]) await chown(path, 65_534, 65_534)
  const options = { ...user, cwd: '/', env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' } }
  const init = ['-D', join(root, 'data'), '-U', 'postgres', `--pwfile=${join(root, 'password')}`]
  await promisify(execFile)(join(bin, 'initdb'), [...init, '-A', 'scram-sha-256', '--no-sync'], options)
  const settings = ['-D', join(root, 'data'), '-k', root, '-c', 'listen_addresses=', '-c', 'fsync=off']
  const server = spawn(join(bin, 'postgres'), settings, { ...options, stdio: 'ignore' })
  const url = `postgres://postgres:pw@localhost/postgres?host=${encodeURIComponent(root)}`
  const sql = connect(url, { max: 1 })
  await vi.waitFor(() => sql`select 1`, { timeout: 60_000 })
  await sql.end()
  return {
    url,
    close: async () => {
      server.kill('SIGQUIT')
      await once(server, 'exit')
      await rm(root, { recursive: true, force: true })
    },
  }
}
