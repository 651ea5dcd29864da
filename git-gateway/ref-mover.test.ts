import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { cancelDeployment, findDeployment } from '../registry/deployments.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { buildsWell, gatedBuild, startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo, runGit, startGit } from './test-repo.ts'

let database: TestDatabase
let gateway: TestGateway

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
})
beforeEach(() => gateway.play(buildsWell))
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

test('G16: two pushes at once to one branch: one wins, the other is told which and how', async () => {
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await using one = await makeRepo(gateway.url('rivals'))
  await using two = await makeRepo(gateway.url('rivals'))
  const first = await one.commit({ a: 'one' })
  await two.commit({ a: 'two' })
  const pushing = startGit(one.path, ['push', 'atelier', 'main'])
  const { id } = await started
  const lost = await two.push('main')
  expect(lost.code).toBe(1)
  expect(lost.stderr).toContain(
    `(${first.slice(0, 7)} (v1) is on its way and this would not follow it; wait, or stop it: atelier cancel ${id})`,
  )
  end(undefined)
  expect(await pushing.done).toMatchObject({ code: 0 })
  expect(await gateway.refs('rivals')).toEqual({ 'refs/heads/main': first })
})

test('G16: of twenty pushes of different commits at once, one wins and the app has one live version', async () => {
  const repos = await Promise.all(Array.from({ length: 20 }, () => makeRepo(gateway.url('crowd'))))
  const shas = await Promise.all(repos.map((repo, index) => repo.commit({ a: String(index) })))
  const pushed = await Promise.all(repos.map((repo) => repo.push('main')))
  const winners = shas.filter((_, index) => pushed[index]?.code === 0)
  expect(winners).toHaveLength(1)
  expect(await gateway.refs('crowd')).toEqual({ 'refs/heads/main': winners[0] })
  const deployments = await gateway.deployments('crowd')
  expect(deployments.filter(({ state }) => state === 'live')).toMatchObject([{ gitSha: winners[0] }])
  // No more rows than pushes that got as far, and none twice.
  expect(new Set(deployments.map(({ gitSha }) => gitSha)).size).toBe(deployments.length)
  expect(deployments.every(({ state }) => ['live', 'cancelled', 'failed'].includes(state))).toBe(true)
  await Promise.all(repos.map((repo) => repo[Symbol.asyncDispose]()))
})

test('G16: of twenty pushes at once that replace one commit, one wins', async () => {
  await using origin = await makeRepo(gateway.url('contended'))
  const base = await origin.commit({ a: '0' })
  await origin.push('main')
  const repos = await Promise.all(Array.from({ length: 20 }, () => makeRepo(gateway.url('contended'))))
  const shas = await Promise.all(
    repos.map(async (repo, index) => {
      await repo.git('fetch', '-q', 'atelier')
      await repo.git('reset', '-q', '--hard', 'atelier/main')
      return repo.commit({ a: String(index) })
    }),
  )
  const pushed = await Promise.all(repos.map((repo) => repo.push('main')))
  const winners = shas.filter((_, index) => pushed[index]?.code === 0)
  expect(winners).toHaveLength(1)
  expect(await gateway.refs('contended')).toEqual({ 'refs/heads/main': winners[0] })
  const deployments = (await gateway.deployments('contended')).filter(({ gitSha }) => gitSha !== base)
  expect(deployments.filter(({ liveAt }) => liveAt)).toMatchObject([
    { gitSha: winners[0], oldSha: base, state: 'live' },
  ])
  expect(new Set(deployments.map(({ gitSha }) => gitSha)).size).toBe(deployments.length)
  await Promise.all(repos.map((repo) => repo[Symbol.asyncDispose]()))
})

test('a commit on top of the one that is building waits for it; a newer one supersedes what waits', async () => {
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await using repo = await makeRepo(gateway.url('queueing'))
  await repo.commit({ a: '1' })
  const first = startGit(repo.path, ['push', 'atelier', 'main'])
  await started
  gateway.play(buildsWell)
  await repo.commit({ a: '2' })
  const second = startGit(repo.path, ['push', 'atelier', 'main'])
  await expect.poll(() => states('queueing')).toEqual(['queued', 'building'])
  const last = await repo.commit({ a: '3' })
  const third = startGit(repo.path, ['push', 'atelier', 'main'])

  const superseded = await second.done
  expect(superseded.code).toBe(1)
  expect(superseded.stderr).toContain(`(superseded by the newer ${last.slice(0, 7)} (v3))`)
  end(undefined)
  expect(await first.done).toMatchObject({ code: 0 })
  expect(await third.done).toMatchObject({ code: 0 })
  expect(await gateway.refs('queueing')).toEqual({ 'refs/heads/main': last })
  expect(await states('queueing')).toEqual(['live', 'cancelled', 'superseded'])
})

test('G16: one commit pushed to two branches at once is two deployments from one source', async () => {
  await using repo = await makeRepo(gateway.url('twice'))
  const sha = await repo.commit({ a: '1' })
  const pushed = await Promise.all([repo.push('main'), repo.push('main:other')])
  expect(pushed.map(({ code }) => code)).toEqual([0, 0])
  expect(await states('twice')).toEqual(['live', 'live'])
  expect(await gateway.refs('twice')).toEqual({ 'refs/heads/main': sha, 'refs/heads/other': sha })
  expect((await gateway.deployments('twice')).map(({ ref }) => ref).sort()).toEqual([
    'refs/heads/main',
    'refs/heads/other',
  ])

  expect(await repo.push('main:third', 'main:fourth')).toMatchObject({ code: 0 })
  expect(await states('twice')).toEqual(['live', 'live', 'live', 'live'])
})

test('a deployment that is cancelled refuses its ref, with who asked for it', async () => {
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await using repo = await makeRepo(gateway.url('cancelled'))
  await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  await cancelDeployment(database.sql, id, { by: 'ada', reason: 'cancelled by ada' })
  const pushed = await pushing.done
  expect(pushed).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('! [remote rejected] main -> main (cancelled by ada)'),
  })
  end('build failed: it was cancelled')
  expect(await gateway.refs('cancelled')).toEqual({})
})

test('a ref that moved in another way while its push was building is left, and the deployment fails', async () => {
  const { build, started, end } = gatedBuild()
  gateway.play(build)
  await using repo = await makeRepo(gateway.url('overtaken'))
  const sha = await repo.commit({ a: '1' })
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  await started
  const stranger = await runGit(gateway.home, [
    '--git-dir',
    gateway.repository('overtaken'),
    'commit-tree',
    `${sha}^{tree}`,
    '-m',
    'x',
  ])
  await updateRef('overtaken', 'refs/heads/main', stranger.stdout.trim())
  end(undefined)
  const pushed = await pushing.done
  expect(pushed.stderr).toContain(
    '(main moved while this was building; take that in and push again: git fetch atelier)',
  )
  expect(await gateway.refs('overtaken')).toEqual({ 'refs/heads/main': stranger.stdout.trim() })
})

test('a gateway that starts finishes what a crash left half done: ref not moved, ref moved, moved and recorded', async () => {
  const apps = ['half-none', 'half-moved', 'half-recorded']
  const halves = []
  for (const app of apps) halves.push(await startPush(app))
  await gateway.stop()
  for (const { end, pushing } of halves) {
    await pushing.done
    end(undefined)
  }
  for (const { id } of halves) await expect.poll(() => isPrepared(id)).toBe(true)
  const shas = halves.map(({ sha }) => sha)
  await updateRef('half-moved', 'refs/heads/main', shas[1] ?? '')
  await updateRef('half-recorded', 'refs/heads/main', shas[2] ?? '')
  await database.sql`update deployments set ref_moved_at = now() where app_id = 'half-recorded'`

  await gateway.start()
  for (const [index, app] of apps.entries()) {
    await expect.poll(() => states(app)).toEqual(['live'])
    expect(await gateway.refs(app)).toEqual({ 'refs/heads/main': shas[index] })
  }
})

async function startPush(app: string) {
  const { build, started, end } = gatedBuild()
  await using repo = await makeRepo(gateway.url(app))
  const sha = await repo.commit({ a: app })
  gateway.play(build)
  const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
  const { id } = await started
  return { id, sha, end, pushing }
}

async function isPrepared(id: string): Promise<boolean> {
  return Boolean((await findDeployment(database.sql, id))?.preparedAt)
}

async function updateRef(app: string, ref: string, sha: string): Promise<void> {
  expect(await runGit(gateway.home, ['--git-dir', gateway.repository(app), 'update-ref', ref, sha])).toMatchObject({
    code: 0,
  })
}

async function states(app: string): Promise<string[]> {
  return (await gateway.deployments(app)).map(({ state }) => state)
}
