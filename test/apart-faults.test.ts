import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import type { Sql } from '../registry/sql.ts'
import type { ApartPlatform, PartName } from './support/apart.ts'
import { type Atelier, testApart as test } from './support/atelier.ts'
import { expectSoundHistory, type SeenPush } from './support/history.ts'
import { atOnce, type Files, type PushResult, type Repo } from './support/repo.ts'

type Apart = Atelier<ApartPlatform>

test.override('apartOptions', { env: { ATELIER_RECONCILE_SEC: '1' } })

const page = (text: string): Files => ({ 'index.html': text })
// Installs slowly enough to be killed in the middle of it, and says so beside its source.
const slowInstall = (text: string): Files => ({
  'package.json': JSON.stringify({ name: 'slow', private: true, scripts: { preinstall: 'touch began && sleep 3' } }),
  'package-lock.json': JSON.stringify({ name: 'slow', lockfileVersion: 3, packages: { '': { name: 'slow' } } }),
  'atelier.config.ts': "export default { build: { script: 'build.sh', output: 'dist' } }\n",
  'build.sh': `#!/bin/sh\nset -e\nmkdir -p dist\necho '${text}' > dist/index.html\n`,
})
// A source that takes a while to unpack.
const manyFiles = (text: string): Files => ({
  ...Object.fromEntries(Array.from({ length: 3_000 }, (_, index) => [`pages/${index}.html`, `${text} ${index}`])),
  ...page(text),
})

type Point = {
  files: (text: string) => Files
  /** Holds the build where it is to be killed; resolves when it is there, to what lets go. */
  hold: (atelier: Apart, sha: string, sql: Sql) => Promise<() => Promise<void>>
}

const points: Record<string, Point> = {
  'while it unpacks the source': {
    files: manyFiles,
    hold: async (atelier, sha, sql) => {
      const { id, worker } = await claimed(sql, atelier, sha)
      const unpacked = join(atelier.platform.homeOf(worker), 'builds', id, 'app')
      await expect.poll(() => readdir(unpacked).catch(() => []), { interval: 2 }).not.toEqual([])
      return async () => undefined
    },
  },
  'while it installs': {
    files: slowInstall,
    hold: async (atelier, sha, sql) => {
      await untilInstalling(atelier, sha, sql)
      return async () => undefined
    },
  },
  // Both end at a table the test holds: the worker waits in the middle of its own step, and is killed there.
  'while it uploads': { files: page, hold: (_, sha, sql) => holdTable(sql, 'blob_refs', sha, 'uploading') },
  'after it has uploaded, before it has said so': {
    files: page,
    hold: (_, sha, sql) => holdTable(sql, 'builds', sha, 'uploading'),
  },
  'before it has said that the job is done': {
    files: slowInstall,
    hold: async (atelier, sha, sql) => {
      // Not before the job is there.
      await untilInstalling(atelier, sha, sql)
      return holdTable(sql, 'bullmq.job', sha, 'live')
    },
  },
}

describe('F3', () => {
  const seen: SeenPush[] = []

  test.for(Object.keys(points))(
    'F3: kill -9 of a worker %s: built again, published once',
    async (name, { atelier }) => {
      const point = points[name]
      if (!point) throw new Error(name)
      const app = `f3-${Object.keys(points).indexOf(name)}`
      const repo = await atelier.clone(await atelier.createApp(app))
      await repo.commit(page('before'))
      await repo.push(atOnce)
      const sha = await repo.commit(point.files('after'))
      const sql = await atelier.platform.openDatabase()
      const pushing = repo.tryPush(atOnce)
      const letGo = await point.hold(atelier, sha, sql)
      const { worker } = await claimed(sql, atelier, sha)
      expect((await atelier.get(app, '/')).status).toBe(200)
      await atelier.platform.kill(worker)
      await letGo()

      const { code, stderr } = await pushing
      expect(code, stderr).toBe(0)
      seen.push({ app, ref: 'refs/heads/main', sha })
      await expectSoundHistory(atelier, seen)
      await sql.end()
    },
  )

  test('F3: a worker whose machine is gone for good: the other one takes its build over', async ({ atelier }) => {
    const repo = await atelier.clone(await atelier.createApp('f3-gone'))
    const sha = await repo.commit(slowInstall('after'))
    const sql = await atelier.platform.openDatabase()
    const pushing = repo.tryPush(atOnce)
    const { worker } = await untilInstalling(atelier, sha, sql)
    const startedAt = performance.now()
    await atelier.platform.takeDown(worker)

    const { code, stderr } = await pushing
    expect(code, stderr).toBe(0)
    expect(performance.now() - startedAt).toBeLessThan(75_000)
    const other = worker === 'worker1' ? 'worker2' : 'worker1'
    expect((await claimed(sql, atelier, sha)).worker).toBe(other)
    await expectSoundHistory(atelier, [...seen, { app: 'f3-gone', ref: 'refs/heads/main', sha }])
    atelier.platform.startPart(worker)
    await sql.end()
  })

  test('F3: a build that takes its worker with it three times fails with a reason', async ({ atelier }) => {
    const repo = await atelier.clone(await atelier.createApp('f3-poison'))
    const sha = await repo.commit(slowInstall('after'))
    const sql = await atelier.platform.openDatabase()
    const pushing = repo.tryPush(atOnce)
    for (let attempt = 1; attempt <= 3; attempt++) {
      const { worker } = await untilInstalling(atelier, sha, sql, attempt)
      await atelier.platform.kill(worker)
    }
    const { code, stderr } = await pushing
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/! \[remote rejected\] main -> main \(.*its build worker ended 3 times/),
    })
    expect((await atelier.get('f3-poison', '/')).status).toBe(404)
    await expectSoundHistory(atelier, seen)
    await sql.end()
  })
})

describe('F1', () => {
  test('F1: kill -9 of one proxy under load: the other serves and deploys on, and it is back from its own disk without Postgres', async ({
    atelier,
  }) => {
    const { platform } = atelier
    const [, secondPort = 0] = platform.ports
    const repo = await atelier.clone(await atelier.createApp('f1'))
    await repo.commit(page('one'))
    await repo.push(atOnce)
    await expect.poll(async () => (await atelier.getFrom(secondPort, 'f1', '/')).body).toBe('one')

    await using onFirst = atelier.keepRequesting('f1', '/')
    await using onSecond = atelier.keepRequesting('f1', '/', { port: secondPort })
    await expect.poll(() => Math.min(onFirst.count, onSecond.count)).toBeGreaterThan(20)
    await platform.takeDown('proxy2')
    // A sick edge vetoes nothing: its lease runs out, and the push goes live on the one that is left.
    const sha = await repo.commit(page('two'))
    await repo.push(atOnce)
    await expect.poll(() => onFirst.bodiesSeen).toEqual(['one', 'two'])

    platform.startPart('proxy2', { ATELIER_DATABASE_URL: 'postgres://atelier@127.0.0.1:9/gone' })
    await expect.poll(async () => bodyAt(atelier, secondPort, 'f1')).toBe('one')
    const missed = onSecond.failures.length
    const before = onSecond.count
    await expect.poll(() => onSecond.count).toBeGreaterThan(before + 20)
    expect(onSecond.failures.length).toBe(missed)
    await platform.takeDown('proxy2', 'SIGTERM')

    platform.startPart('proxy2')
    await expect.poll(async () => bodyAt(atelier, secondPort, 'f1')).toBe('two')
    await onFirst.stop()
    expect(onFirst.failures).toEqual([])
    await expectSoundHistory(atelier, [{ app: 'f1', ref: 'refs/heads/main', sha }])
  })
})

describe('F5', () => {
  const controlPlane: PartName[] = ['registry', 'gateway', 'worker1', 'worker2']

  test('F5: with API, console, gateway and workers gone no live request fails, also over a restart of a proxy', async ({
    atelier,
  }) => {
    const { platform } = atelier
    const [, secondPort = 0] = platform.ports
    const repo = await atelier.clone(await atelier.createApp('f5'))
    const app =
      "import { createServer } from 'node:http'\ncreateServer((_, response) => response.end('alive')).listen(process.env.PORT)\n"
    const sha = await repo.commit({ 'server.mjs': app, 'package.json': '{"scripts":{"start":"node server.mjs"}}' })
    await repo.push(atOnce)
    await expect.poll(async () => bodyAt(atelier, secondPort, 'f5')).toBe('alive')

    await using traffic = atelier.keepRequesting('f5', '/')
    for (const part of controlPlane) await platform.takeDown(part)
    await platform.kill('proxy2')
    await expect.poll(async () => bodyAt(atelier, secondPort, 'f5')).toBe('alive')
    expect((await atelier.api('GET', 'status')).status).toBe(503)
    const before = traffic.count
    await expect.poll(() => traffic.count).toBeGreaterThan(before + 200)
    for (const part of controlPlane) platform.startPart(part)
    await platform.untilReady()
    await traffic.stop()
    expect(traffic.failures).toEqual([])
    await expectSoundHistory(atelier, [{ app: 'f5', ref: 'refs/heads/main', sha }])
    await pushAgain(repo)
  })
})

async function pushAgain(repo: Repo): Promise<PushResult> {
  await repo.commit({ 'note.txt': 'after' })
  return repo.push(atOnce)
}

async function bodyAt(atelier: Apart, port: number, app: string): Promise<string> {
  return atelier.getFrom(port, app, '/').then(
    ({ body }) => body,
    () => '',
  )
}

/** The deployment of a commit and the worker that has it, as soon as one has. */
async function claimed(
  sql: Sql,
  { platform }: Apart,
  sha: string,
  attempt = 1,
): Promise<{ id: string; worker: PartName }> {
  const find = async () => {
    const [row] = await sql<{ id: string; workerId: string }[]>`
      select id, worker_id
      from deployments
      where git_sha = ${sha}
        and attempt >= ${attempt}
        and worker_id is not null
    `
    return row ?? null
  }
  await expect.poll(find, { interval: 5, timeout: 90_000 }).not.toBeNull()
  const { id = '', workerId = '' } = (await find()) ?? {}
  const worker = (['worker1', 'worker2'] as const).find((name) => workerId === platform.workerIdOf(name))
  if (!worker) throw new Error(`${workerId} is no worker of this platform`)
  return { id, worker }
}

async function untilInstalling(atelier: Apart, sha: string, sql: Sql, attempt = 1) {
  const found = await claimed(sql, atelier, sha, attempt)
  const source = join(atelier.platform.homeOf(found.worker), 'builds', found.id, 'app')
  await expect
    .poll(() => readdir(source).catch((): string[] => []), { interval: 10, timeout: 60_000 })
    .toContain('began')
  return found
}

/** Takes a table (nobody else may write to it) before the build comes to it; resolves when the worker waits there, to what gives the table back. */
async function holdTable(sql: Sql, table: string, sha: string, state: string): Promise<() => Promise<void>> {
  const taken = Promise.withResolvers<void>()
  const over = Promise.withResolvers<void>()
  const holding = sql.begin(async (tx) => {
    await tx.unsafe(`set local statement_timeout = 0; lock table ${table} in share row exclusive mode`)
    taken.resolve()
    await over.promise
  })
  await taken.promise
  const isWaiting = async () => {
    const [row] = await sql`
      select 1
      from deployments d
      where d.git_sha = ${sha}
        and d.state = ${state}
        and exists (
          select from pg_locks l
          where l.relation = ${table}::regclass
            and not l.granted
        )
    `
    return row !== undefined
  }
  const letGo = async () => {
    over.resolve()
    await holding
  }
  try {
    await expect.poll(isWaiting, { interval: 10, timeout: 60_000 }).toBe(true)
  } catch (thrown) {
    await letGo()
    throw thrown
  }
  return letGo
}
