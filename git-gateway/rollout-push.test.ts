import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lockApp } from '../registry/app-locks.ts'
import { appendAppLog } from '../registry/app-logs.ts'
import { createDeployment, type Deployment } from '../registry/deployments.ts'
import { keepReasons } from '../registry/rollback-reasons.ts'
import { endRollout, openSegment, type Rollout } from '../registry/rollout.ts'
import { abortRollout, findRolloutOfApp } from '../registry/rollout-commands.ts'
import { revertRollout } from '../registry/rollout-ends.ts'
import { beginRollout } from '../test/support/control-plane.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

// What a push says of rollouts and locks.
let database: TestDatabase
let gateway: TestGateway
beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const newest = async (app: string): Promise<Deployment> => {
  const [deployment] = await gateway.deployments(app)
  if (!deployment) throw new Error('nothing was deployed')
  return deployment
}

test('a push to production notes the commits it brings to what is live, the newest first', async () => {
  await using repo = await makeRepo(gateway.url('commits'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  expect((await newest('commits')).commits).toBeNull()
  const shas = []
  for (const name of ['two', 'three']) shas.unshift(await repo.commit({ 'index.html': name }))
  expect(await repo.push('-o', 'canary=skip', 'main')).toMatchObject({ code: 0 })
  expect((await newest('commits')).commits).toEqual(shas.map((sha) => ({ sha, subject: 'change' })))
  await repo.git('push', '-q', 'atelier', 'main:pr/1')
  expect(await newest('commits')).toMatchObject({ environment: 'preview', commits: null })
})

test('subjects of commits that would steer a terminal are noted as plain text', async () => {
  await using repo = await makeRepo(gateway.url('subjects'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await repo.git('commit', '-q', '--allow-empty', '-m', `\u001b[2Jwiped \u202e${'x'.repeat(500)}`)
  expect(await repo.push('-o', 'canary=skip', 'main')).toMatchObject({ code: 0 })
  const [commit] = (await newest('subjects')).commits ?? []
  expect(commit?.subject).toMatch(/^wiped x{50,}…$/)
})

test('the push after a version was taken back says so and why; the one after that does not', async () => {
  await using repo = await makeRepo(gateway.url('again'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  const bad = await createDeployment(database.sql, {
    app: 'again',
    target: { environment: 'production', branch: 'main', label: 'again' },
    version: '6.6.6',
    source: 'upload',
    by: 'ada',
  })
  await beginRollout(database.sql, gateway.config, bad.id)
  const wrote = ['TypeError: cart is not a function', '    at total (/app/cart.js:12:7)']
  const line = { appId: 'again', deploymentId: bad.id, version: '6.6.6', at: new Date(), stream: 'stderr' as const }
  await appendAppLog(
    database.sql,
    wrote.map((text) => ({ ...line, text })),
  )
  await abortRollout(database.sql, 'again', { by: 'bea', reason: 'the cart is empty' })

  await repo.commit({ 'index.html': 'two' })
  const told = await repo.push('-o', 'canary=skip', 'main')
  expect(told.stderr).toMatch(/remote: -----> Before +6\.6\.6 \(v2\) was taken back at 5 % by bea: the cart is empty/)
  expect(told.stderr).toContain('remote:        it wrote  TypeError: cart is not a function')
  await repo.commit({ 'index.html': 'three' })
  expect((await repo.push('-o', 'canary=skip', 'main')).stderr).not.toContain('Before')
})

describe('a push that is rolled out', () => {
  const sentence = 'errors 4/68 vs 1/1290 (evidence 3058, bar 750)'

  // The builds of the other tests are played with a policy that skips rollouts: nobody leads them here but these tests.
  beforeAll(() =>
    database.sql.unsafe(`
      create function judge() returns trigger language plpgsql as $$
      begin
        new.rollout_policy := null;
        return new;
      end $$;
      create trigger builds_judged before insert on builds
        for each row when (new.app_id like 'judged%') execute function judge();
    `),
  )

  /** Opens the first stage of the app's rollout as soon as there is one. */
  async function begin(app: string): Promise<Rollout> {
    await expect.poll(() => findRolloutOfApp(database.sql, app)).not.toBeNull()
    const rollout = await findRolloutOfApp(database.sql, app)
    if (!rollout) throw new Error('no rollout')
    await database.sql.begin(async (tx) => {
      await openSegment(tx, rollout, { opens: 'stage', percent: 5, slowMs: null, tooSlowMs: null, by: 'platform' })
    })
    return rollout
  }

  async function takeBack(rollout: Rollout): Promise<void> {
    await database.sql.begin((tx) =>
      revertRollout(tx, rollout, { to: 'failed', by: 'platform', sentence, errorCode: 'ROLLED_BACK' }),
    )
    await database.sql.begin(async (tx) => {
      await keepReasons(tx, rollout)
      await endRollout(tx, rollout, { state: 'aborted', sentence, by: 'platform' })
    })
  }

  test('ends well at the first stage; followed, it stays to the verdict and is refused by it; the next one is told', async () => {
    await using repo = await makeRepo(gateway.url('judged'))
    await repo.commit({ 'index.html': 'one' })
    await repo.push('main')
    await repo.commit({ 'index.html': 'two' })
    const ending = repo.push('main')
    const first = await begin('judged')
    expect(await ending).toMatchObject({ code: 0 })
    expect(await newest('judged')).toMatchObject({ state: 'canary' })

    const sha = await repo.commit({ 'index.html': 'three' })
    const following = repo.push('-o', 'follow', 'main')
    await expect.poll(async () => (await newest('judged')).gitSha).toBe(sha)
    await expect.poll(async () => (await newest('judged')).state).toBe('canary')
    const second = await begin('judged')
    expect(second.id).not.toBe(first.id)
    await takeBack(second)
    const refused = await following
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(`! [remote rejected] main -> main (${sentence})`)
    expect(refused.stderr).toMatch(/remote: {8}commits {3}[0-9a-f]{7} change/)
    expect(await gateway.refs('judged')).toEqual({ 'refs/heads/main': sha })

    await repo.commit({ 'index.html': 'four' })
    const next = repo.push('main')
    await expect.poll(async () => (await newest('judged')).number).toBe(4)
    await expect.poll(async () => (await newest('judged')).state).toBe('canary')
    await begin('judged')
    expect((await next).stderr).toContain(`was taken back: ${sentence}`)
  })
})

test('a locked app takes no push to production but previews, and says who locked it, why and what to do', async () => {
  await using repo = await makeRepo(gateway.url('locked'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await lockApp(database.sql, { app: 'locked', by: 'bea', message: 'migrating' })
  const sha = await repo.commit({ 'index.html': 'two' })
  const refused = await repo.push('main')
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('(locked is locked by bea (migrating); to lift it: atelier unlock)')
  expect(await newest('locked')).toMatchObject({ number: 1 })
  expect(await repo.push('main:pr/1')).toMatchObject({ code: 0 })

  const taken = await repo.push('-o', 'unlock', '-o', 'canary=skip', 'main')
  expect(taken).toMatchObject({ code: 0 })
  expect(taken.stderr).toContain('Unlocked    the lock by bea (migrating) is lifted')
  expect(await newest('locked')).toMatchObject({ gitSha: sha, state: 'live' })
})
