import { access, mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { findDeployment } from '../registry/deployments.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { killAll } from '../test/support/processes.ts'
import { flushPacket } from './pkt-line.ts'
import { basic, clientOf } from './test-client.ts'
import { linkTo } from './test-database-link.ts'
import { gatedBuild, startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo, startGit, type TestRepo } from './test-repo.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
})
afterAll(() => database[Symbol.asyncDispose]())

test('a pusher who leaves in mid-build does not end the deployment', async () => {
  await using gateway = await startTestGateway(database)
  await using repo = await makeRepo(gateway.url('left'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  const sha = await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  pushing.kill()
  await pushing.done
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  expect(await stateOf(id)).toBe('building')

  end(undefined)
  await expect.poll(() => stateOf(id)).toBe('live')
  expect(await gateway.refs('left')).toEqual({ 'refs/heads/main': sha })
})

test('F4: a hook that is killed fails the push cleanly, and the deployment goes on', async () => {
  await using gateway = await startTestGateway(database)
  await using repo = await makeRepo(gateway.url('hooked'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  await killGits(gateway, 'cat')
  const pushed = await pushing.done
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('! [remote rejected] main -> main (fail to run proc-receive hook)')
  end(undefined)
  await expect.poll(() => stateOf(id)).toBe('live')
})

test('F4: a git that is killed on the server ends the push with a sentence', async () => {
  await using gateway = await startTestGateway(database)
  await using repo = await makeRepo(gateway.url('gitless'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  await killGits(gateway, 'receive-pack')
  const pushed = await pushing.done
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('(git on the server ended before it was done; see: atelier deploys)')
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  end(undefined)
  await expect.poll(() => stateOf(id)).toBe('live')
})

test('a gateway that stops tells its pushers how to go on watching, and finishes after its restart', async () => {
  await using gateway = await startTestGateway(database, { asProcess: {} })
  await using repo = await makeRepo(gateway.url('stopped'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  const sha = await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  await gateway.stop()
  const pushed = await pushing.done
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain(`remote: The gateway restarts; the deployment goes on: atelier logs ${id} -f`)
  expect(await gateway.gitProcesses()).toEqual([])

  end(undefined)
  await expect.poll(() => isPrepared(id)).toBe(true)
  await gateway.start()
  await expect.poll(() => stateOf(id)).toBe('live')
  expect(await gateway.refs('stopped')).toEqual({ 'refs/heads/main': sha })
})

test('F4: a gateway that is killed in mid-push leaves no process and loses nothing', async () => {
  await using gateway = await startTestGateway(database, { asProcess: {} })
  await using repo = await makeRepo(gateway.url('killed'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  const sha = await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  await gateway.kill()
  const pushed = await pushing.done
  expect(pushed.code).not.toBe(0)
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  expect(await gateway.refs('killed')).toEqual({})

  end(undefined)
  await expect.poll(() => isPrepared(id)).toBe(true)
  await gateway.start()
  await expect.poll(() => stateOf(id)).toBe('live')
  expect(await gateway.refs('killed')).toEqual({ 'refs/heads/main': sha })
  expect(await repo.push('main')).toMatchObject({ code: 0, stderr: 'Everything up-to-date\n' })
})

test('F4: what a killed git left is gone after a restart: locks that would block a ref, objects nobody waits for', async () => {
  await using gateway = await startTestGateway(database)
  await using repo = await makeRepo(gateway.url('leftovers'))
  await repo.commit({ a: '1' })
  await repo.push('main')
  const repository = gateway.repository('leftovers')
  await writeFile(join(repository, 'refs/heads/main.lock'), '')
  await mkdir(join(repository, 'objects/tmp_objdir-incoming-x/00'), { recursive: true })
  await mkdir(join(gateway.home, 'git/.new-x'))
  await repo.commit({ a: '2' })
  expect(await repo.push('main')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('(git could not move main; '),
  })

  await gateway.stop()
  await gateway.start()
  expect(await repo.push('main')).toMatchObject({ code: 0 })
  expect(await readdir(join(repository, 'objects'))).not.toContain('tmp_objdir-incoming-x')
  expect(await readdir(join(gateway.home, 'git'))).not.toContain('.new-x')
})

test('F6: with the database gone or silent a push is refused within five seconds, and works when it is back', async () => {
  await using link = await linkTo(database.url)
  await using gateway = await startTestGateway(database, { asProcess: { ATELIER_DATABASE_URL: link.url } })
  await using repo = await makeRepo(gateway.url('dark'))
  await repo.commit({ a: '1' })
  for (const fault of [link.cut, link.silence]) {
    const before = await usualMs(repo)
    fault()
    const startedAt = performance.now()
    const refused = await repo.push('main')
    const tookMs = performance.now() - startedAt
    expect(refused.code).not.toBe(0)
    expect(refused.stderr).toContain('remote: The database of Atelier does not answer just now.')
    link.heal()
    await expect.poll(async () => (await repo.push('--dry-run', 'main')).code, { timeout: 20_000 }).toBe(0)
    expect(tookMs).toBeLessThan(answeredWithin(before, await usualMs(repo)))
  }
  expect(await repo.push('main')).toMatchObject({ code: 0 })
})

test('F6: a database that goes or hangs between the two requests of a push is told in a sentence', async () => {
  await using link = await linkTo(database.url)
  await using gateway = await startTestGateway(database, { asProcess: { ATELIER_DATABASE_URL: link.url } })
  await using repo = await makeRepo(gateway.url('between'))
  const pause = await pauseBeforePost(repo)
  await repo.commit({ a: '1' })
  for (const fault of [link.cut, link.silence]) {
    for (const command of [
      ['push', 'atelier', 'main'],
      ['push', 'atelier', 'main:a', 'main:b'],
    ]) {
      const before = await usualMs(repo)
      const pushing = startGit(repo.path, command)
      await pause.isReached()
      fault()
      const startedAt = performance.now()
      await pause.end()
      const refused = await pushing.done
      const tookMs = performance.now() - startedAt
      expect(refused.code).not.toBe(0)
      expect(refused.stderr).toContain('remote: The database of Atelier does not answer just now. Nothing was changed')
      link.heal()
      await expect
        .poll(async () => (await repo.git('ls-remote', gateway.url('between'))).stderr, { timeout: 20_000 })
        .toContain('There is no app')
      expect(tookMs).toBeLessThan(answeredWithin(before, await usualMs(repo)))
    }
  }
  expect(await repo.push('--no-verify', 'main')).toMatchObject({ code: 0 })
  const fetched = clientOf(gateway).send('POST', '/between.git/git-upload-pack', {
    headers: { authorization: basic(gateway.secret), 'content-type': 'application/x-git-upload-pack-request' },
    body: flushPacket,
  })
  expect(await fetched).toMatchObject({ status: 200, text: '' })
})

test.each([
  ['that hangs before the row of a push is there', 'silenceAt', ['insert into deployments'], 0],
  ['that hangs when the row of a push is to be committed', 'silenceAt', ['insert into build_logs', 'commit'], 0],
  ['whose commit of a push is never heard of', 'silenceAfter', ['insert into build_logs', 'commit'], 1],
] as const)(
  'F6: a database %s: the push is answered within five seconds, and can be made again',
  async (_what, way, texts, rows) => {
    await using link = await linkTo(database.url)
    await using gateway = await startTestGateway(database, { asProcess: { ATELIER_DATABASE_URL: link.url } })
    const app = `hung-${way.toLowerCase()}-${texts.length}`
    await using repo = await makeRepo(gateway.url(app))
    await createApp(database.sql, { id: app, by: 'test' })
    const sha = await repo.commit({ a: '1' })

    const before = await usualMs(repo)
    const hangs = link[way](...texts)
    const pushing = repo.push('main')
    await hangs
    const startedAt = performance.now()
    const refused = await pushing
    const tookMs = performance.now() - startedAt
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(
      '(The database of Atelier does not answer just now. Whether it took this push is not certain: atelier deploys shows it. Pushing again does no harm.)',
    )
    expect(await gateway.refs(app)).toEqual({})
    link.heal()
    await expect.poll(async () => (await repo.push('main')).code, { timeout: 20_000 }).toBe(0)
    expect(tookMs).toBeLessThan(answeredWithin(before, await usualMs(repo)))
    const deployments = await gateway.deployments(app)
    expect(deployments.filter(({ liveAt }) => liveAt)).toHaveLength(1)
    if (rows === 0) expect(deployments).toHaveLength(1)
    expect(await gateway.refs(app)).toEqual({ 'refs/heads/main': sha })
  },
)

/** Five seconds for the database to answer, and what the rest of a push takes: half a second, or more on a machine that was busy before or after. */
function answeredWithin(...usual: number[]): number {
  return 5_000 + Math.max(500, 5 * Math.max(...usual))
}

/** What an exchange of git with a gateway that is well takes just now, in milliseconds. */
async function usualMs(repo: TestRepo): Promise<number> {
  const startedAt = performance.now()
  await repo.git('ls-remote', 'atelier')
  return performance.now() - startedAt
}

test('a database that goes away while the build queue connects does not end the gateway', async () => {
  await using empty = await createDatabase()
  await using link = await linkTo(empty.url)
  const wasCut = link.cutAt('pg_advisory_xact_lock')
  await using gateway = await startTestGateway(empty, { asProcess: { ATELIER_DATABASE_URL: link.url } })
  await wasCut
  link.heal()
  await using repo = await makeRepo(gateway.url('early'))
  await repo.commit({ a: '1' })
  expect(await repo.push('main')).toMatchObject({ code: 0 })
})

test('F6: a push rides out a database that is away in mid-build', async () => {
  await using link = await linkTo(database.url)
  await using gateway = await startTestGateway(database, { asProcess: { ATELIER_DATABASE_URL: link.url } })
  await using repo = await makeRepo(gateway.url('blinking'))
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  link.cut()
  end(undefined)
  await expect.poll(() => isPrepared(id)).toBe(true)
  link.heal()
  const pushed = await pushing.done
  expect(pushed).toMatchObject({ code: 0, stderr: expect.stringContaining('-----> Live') })
  expect(pushed.stderr.match(/-----> Building/g)).toHaveLength(1)
})

/** Holds a git push between its two requests: its hook runs there. */
async function pauseBeforePost(repo: TestRepo) {
  const [reached, over] = ['reached', 'over'].map((name) => join(repo.path, '.git', name)) as [string, string]
  const hook = join(repo.path, '.git/hooks/pre-push')
  await mkdir(dirname(hook), { recursive: true })
  await writeFile(
    hook,
    `#!/bin/sh\n: > ${reached}\nwhile [ ! -e ${over} ]; do sleep 0.05; done\nrm ${reached} ${over}\n`,
    {
      mode: 0o755,
    },
  )
  return {
    isReached: () =>
      expect
        .poll(() =>
          access(reached).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true),
    end: () => writeFile(over, ''),
  }
}

async function stateOf(id: string): Promise<string | undefined> {
  return (await findDeployment(database.sql, id))?.state
}

async function isPrepared(id: string): Promise<boolean> {
  return Boolean((await findDeployment(database.sql, id))?.preparedAt)
}

async function killGits(gateway: TestGateway, name: string): Promise<void> {
  const found = (await gateway.gitProcesses()).filter((line) => line.includes(` ${name} `))
  expect(found).not.toEqual([])
  killAll(found.map((line) => Number(line.split(' ')[0])))
}
