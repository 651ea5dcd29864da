import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { readBuildLog } from './build-logs.ts'
import { claimBuild, recordBuild } from './claims.ts'
import { readConfig } from './config.ts'
import { createDeployment, type Deployment, findDeployment, moveDeployment } from './deployments.ts'
import { renewLease, reportPrepared, wantedPreparations } from './edges.ts'
import { followBuildLog } from './followed-log.ts'
import { newId } from './ids.ts'
import { removePreview } from './preview-removal.ts'
import { awaitPrepared, goLive, markPrepared, requestPrepare } from './release.ts'
import { findRollbackTarget, prepareAndRollBack, rollBack } from './rollback.ts'
import { readRoutes } from './routes.ts'

const database = await createDatabase({ max: 12 })
const { sql } = database
const config = readConfig({ ATELIER_HOME: '/nowhere' })
afterAll(() => database[Symbol.asyncDispose]())

let app: string
beforeEach(async () => {
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
})

async function prepared(version: string, branch = 'main'): Promise<Deployment> {
  const target = targetOfBranch({ id: app, productionBranch: 'main' }, branch)
  const { id } = await createDeployment(sql, { app, target, version, source: 'upload', by: 'ada' })
  const claim = await claimBuild(sql, id, 'w')
  if (!claim) throw new Error('not claimed')
  await moveDeployment(sql, id, { from: 'building', to: 'built', by: 'w' })
  await moveDeployment(sql, id, { from: 'built', to: 'uploading', by: 'w' })
  await recordBuild(sql, claim, {
    id: newId(),
    kind: 'static',
    framework: 'static',
    manifestKey: 'k',
    manifestSha256: 'x',
    publicEnvHash: '',
    bundleSize: 1,
    durationMs: 1,
  })
  await markPrepared(sql, claim)
  return claim
}

async function live(version: string, branch = 'main'): Promise<Deployment> {
  const deployment = await goLive(sql, (await prepared(version, branch)).id, { config, by: 'w' })
  if (!deployment) throw new Error('not live')
  return deployment
}

const routeOf = async () => (await readRoutes(sql)).find(({ appId }) => appId === app)
const stateOf = async ({ id }: Deployment) => (await findDeployment(sql, id))?.state

describe('going live', () => {
  test('supersedes what was live, raises the generation and ends the log with the way back', async () => {
    const first = await live('1.0.0')
    const second = await live('1.0.1')
    expect(await stateOf(first)).toBe('superseded')
    expect(await routeOf()).toMatchObject({ generation: 2, live: { id: second.id, version: '1.0.1' } })
    const texts = (await readBuildLog(sql, second.id)).map(({ text }) => text)
    expect(texts).toEqual([
      expect.stringMatching(new RegExp(`Live +http://${app}.apps.localhost:8080 .* in all, last time`)),
      '       back: atelier rollback 1.0.0',
    ])
  })

  test('done twice or by several at once it is done once', async () => {
    const { id } = await prepared('1.0.0')
    const results = await Promise.all(Array.from({ length: 6 }, () => goLive(sql, id, { config, by: 'w' })))
    expect(results.every((result) => result?.state === 'live')).toBe(true)
    expect((await routeOf())?.generation).toBe(1)
    expect(await readBuildLog(sql, id)).toHaveLength(1)
  })

  test('a deployment that is not prepared does not go live', async () => {
    const { id } = await createDeployment(sql, {
      app,
      target: targetOfBranch({ id: app, productionBranch: 'main' }, 'main'),
      version: '1.0.0',
      source: 'upload',
      by: 'ada',
    })
    expect(await goLive(sql, id, { config, by: 'w' })).toBeNull()
  })
})

describe('rolling back', () => {
  test('without a name it goes to the previous live version, again to the one before', async () => {
    const [one, two, three] = [await live('1.0.0'), await live('1.0.1'), await live('1.0.2')]
    expect((await rollBack(sql, await findRollbackTarget(sql, app, null), { by: 'ada' })).live.id).toBe(two.id)
    expect(await stateOf(three)).toBe('rolled_back')
    expect((await rollBack(sql, await findRollbackTarget(sql, app, null), { by: 'ada' })).live.id).toBe(one.id)
    await expect(findRollbackTarget(sql, app, null)).rejects.toThrow('no earlier live version')
  })

  test('by name, number or prefix, also forward to a version that was rolled back', async () => {
    const sha = (letter: string) => letter.repeat(40)
    const [one, two] = [await live(sha('a')), await live(sha('b'))]
    expect((await findRollbackTarget(sql, app, 'aaaaaaa')).id).toBe(one.id)
    await rollBack(sql, await findRollbackTarget(sql, app, 'v1'), { by: 'ada' })
    expect((await findRollbackTarget(sql, app, 'bbbb')).id).toBe(two.id)
  })

  test('twenty at once leave one live version and every generation counted', async () => {
    const target = await live('1.0.0')
    await live('1.0.1')
    const results = await Promise.all(Array.from({ length: 20 }, () => rollBack(sql, target, { by: 'ada' })))
    expect(new Set(results.map(({ live }) => live.id))).toEqual(new Set([target.id]))
    expect((await routeOf())?.generation).toBe(3)
  })

  test.each([
    ['ffffff0', 'VERSION_NOT_FOUND'],
    ['../../etc', 'VERSION_ILLEGAL'],
    ['v99', 'VERSION_NOT_FOUND'],
  ])('%s is refused with %s', async (version, code) => {
    await live('1.0.0')
    await expect(findRollbackTarget(sql, app, version)).rejects.toThrow(expect.objectContaining({ code }))
  })

  test('a version whose bundle was pruned is refused and says what to do', async () => {
    const one = await live('1.0.0')
    await live('1.0.1')
    await sql`update builds set pruned_at = now() where id in (select build_id from deployments where id = ${one.id})`
    await expect(findRollbackTarget(sql, app, '1.0.0')).rejects.toThrow(
      expect.objectContaining({ code: 'VERSION_PRUNED', message: expect.stringContaining('atelier deploys') }),
    )
  })

  test('a version that never was live is refused and says so', async () => {
    await live('1.0.0')
    const failed = await prepared('1.0.1')
    await moveDeployment(sql, failed.id, { from: 'uploading', to: 'failed', by: 'w', reason: 'x' })
    await expect(findRollbackTarget(sql, app, '1.0.1')).rejects.toThrow('was never live (it is failed)')
  })
})

test('edges with a lease are waited for; their answers come back, the sick one by name', async () => {
  const { id } = await prepared('1.0.0')
  await sql`delete from edges`
  await renewLease(sql, 'well')
  await renewLease(sql, 'sick')
  await requestPrepare(sql, id)
  const waiting = awaitPrepared(sql, id, { timeoutMs: 60_000 })
  expect(await wantedPreparations(sql, 'well')).toContain(id)
  await reportPrepared(sql, { edgeId: 'well', deploymentId: id, ready: true })
  await reportPrepared(sql, { edgeId: 'sick', deploymentId: id, ready: false, reason: 'disk full' })
  expect(await waiting).toEqual({
    ready: [expect.objectContaining({ edgeId: 'well' })],
    failed: [expect.objectContaining({ reason: 'disk full' })],
    waitingFor: 0,
  })
  expect(await wantedPreparations(sql, 'well')).not.toContain(id)
})

test('tearing a preview down ends its deployments and takes its address away', async () => {
  const preview = await live('1.0.0', 'pr/7')
  const open = await prepared('1.0.1', 'pr/7')
  expect(await removePreview(sql, { app, branch: 'pr/7', by: 'ada' })).toBe(true)
  expect([await stateOf(preview), await stateOf(open)]).toEqual(['removed', 'cancelled'])
  expect(await routeOf()).toBeUndefined()
  expect(await removePreview(sql, { app, branch: 'pr/7', by: 'ada' })).toBe(false)
})

test.each([false, true])(
  'who deploys to a preview while it is torn down gets a new one (with one queued: %j)',
  async (isQueued) => {
    const target = targetOfBranch({ id: app, productionBranch: 'main' }, 'pr/7')
    const deploy = (version: string) => createDeployment(sql, { app, target, version, source: 'upload', by: 'ada' })
    const before = await live('1.0.0', 'pr/7')
    if (isQueued) await deploy('1.0.1')
    const begun: { deploying: Promise<PromiseSettledResult<Deployment>[]> }[] = []
    const isDue = async () => {
      begun.push({ deploying: Promise.allSettled([deploy('2.0.0')]) })
      await expect
        .poll(() => sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
        .toHaveLength(1)
      return true
    }
    expect(await removePreview(sql, { app, branch: 'pr/7', by: 'ada' }, { isDue })).toBe(true)
    expect(await begun[0]?.deploying).toMatchObject([{ status: 'fulfilled', value: { state: 'queued' } }])
    expect(await stateOf(before)).toBe('removed')
    expect(await routeOf()).toMatchObject({ branch: 'pr/7', live: null })
  },
)

test('a follower gets every line and the end, from any point on', async () => {
  const deployment = await prepared('1.0.0')
  const following = Array.fromAsync(followBuildLog(sql, deployment.id))
  await goLive(sql, deployment.id, { config, by: 'w' })
  const items = await following
  expect(items.at(-1)).toMatchObject({ end: { state: 'live' } })
  expect(await Array.fromAsync(followBuildLog(sql, deployment.id, { after: 1 }))).toMatchObject([
    { end: { state: 'live' } },
  ])
})

test('a rollback has the edges start the old version first, and goes ahead whatever they say', async () => {
  await live('1.0.0')
  const newer = await live('1.0.1')
  const target = await findRollbackTarget(sql, app, null)
  await sql`delete from edges`
  await renewLease(sql, 'edge')
  const rollingBack = prepareAndRollBack(sql, target, { by: 'ada' })
  await expect.poll(() => wantedPreparations(sql, 'edge')).toContain(target.id)
  expect(await stateOf(newer)).toBe('live')
  await reportPrepared(sql, { edgeId: 'edge', deploymentId: target.id, ready: false, reason: 'disk full' })
  expect((await rollingBack).live.id).toBe(target.id)
})
