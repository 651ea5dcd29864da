import { randomBytes } from 'node:crypto'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { claimBuild, heartbeat, recordBuild, releaseClaim, requeueAbandoned } from './claims.ts'
import {
  cancelDeployment,
  createDeployment,
  type Deployment,
  findDeployment,
  listEvents,
  moveDeployment,
} from './deployments.ts'
import { setEnv } from './env-vars.ts'
import { newId } from './ids.ts'
import { findSource, readBuildVersion } from './reusable-builds.ts'

const database = await createDatabase({ max: 12 })
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())

let app: string
beforeEach(async () => {
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
})

const deploy = (version = '1.0.0', branch = 'main', options = {}): Promise<Deployment> =>
  createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
    version,
    source: 'git',
    by: 'ada',
    options,
  })

const buildOf = () => ({
  id: newId(),
  kind: 'static',
  framework: 'static',
  manifestKey: 'k',
  manifestSha256: 'x',
  publicEnvHash: '',
  bundleSize: 1,
  durationMs: 1,
})

describe('creating', () => {
  test('numbers count up without gaps or doubles when twenty pushes arrive at once, and one of them stays queued', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, (_, index) => deploy(`1.0.${index}`)))
    expect(made.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    )
    const queued = await sql<Deployment[]>`select * from deployments where app_id = ${app} and state = 'queued'`
    expect(queued.map(({ number }) => number)).toEqual([20])
  })

  test('a newer push cancels the queued one and says by what', async () => {
    const first = await deploy('1.0.0')
    await deploy('1.0.1')
    expect(await findDeployment(sql, first.id)).toMatchObject({
      state: 'cancelled',
      stateReason: 'superseded by the newer 1.0.1 (v2)',
    })
  })

  test('a preview does not supersede production', async () => {
    const production = await deploy('1.0.0')
    await deploy('1.0.0', 'pr/4')
    expect((await findDeployment(sql, production.id))?.state).toBe('queued')
  })

  test('the same version with the same variables takes the build that was made, unless asked to build', async () => {
    const first = await deploy()
    const claim = await claimBuild(sql, first.id, 'w')
    if (!claim) throw new Error('not claimed')
    const build = buildOf()
    expect(await recordBuild(sql, claim, build)).toBe(true)
    await cancelDeployment(sql, first.id, { by: 'ada', reason: 'test' })

    expect((await deploy()).buildId).toBe(build.id)
    expect((await deploy('1.0.0', 'main', { forceBuild: true })).buildId).toBeNull()
    expect((await deploy('1.0.1')).buildId).toBeNull()
    // A build can read where it is for: a preview's is not production's, nor another preview's.
    expect((await deploy('1.0.0', 'pr/1')).buildId).toBeNull()
  })
})

describe('the same files in another commit', () => {
  const tree = 'a'.repeat(40)
  const push = (version: string, sourceTree: string | null, options = {}, branch = 'main') =>
    createDeployment(sql, {
      ...{
        app,
        target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
        version,
        source: 'git',
        by: 'ada',
      },
      ...{ sourceTree, options },
    })
  const built = async (deployment: Deployment, isToldVersion: boolean, readsRunEnv = false) => {
    const claim = await claimBuild(sql, deployment.id, 'w')
    if (!claim) throw new Error('not claimed')
    const build = { ...buildOf(), isToldVersion, readsRunEnv }
    expect(await recordBuild(sql, claim, build)).toBe(true)
    await cancelDeployment(sql, deployment.id, { by: 'ada', reason: 'test' })
    return build.id
  }

  test('are the build that was made, where its making could not tell the version', async () => {
    const build = await built(await push('1.0.0', tree), false)
    const again = await push('1.0.1', tree)
    expect(again).toMatchObject({ buildId: build, sourceTree: tree })
    expect(await readBuildVersion(sql, build)).toBe('1.0.0')
    expect((await push('1.0.2', 'b'.repeat(40))).buildId).toBeNull()
    expect((await push('1.0.3', null)).buildId).toBeNull()
    expect((await push('1.0.4', tree, { forceBuild: true })).buildId).toBeNull()
    expect((await push('1.0.5', tree, {}, 'pr/1')).buildId).toBeNull()
  })

  test('are a build of their own where it could, and for other values of its variables', async () => {
    await built(await push('1.0.0', tree), true)
    const second = await push('1.0.1', tree)
    expect(second.buildId).toBeNull()
    await built(second, false)
    await setEnv(sql, { app, environment: 'production' }, { values: { A: '1' }, by: 'ada', key: randomBytes(32) })
    expect((await push('1.0.2', tree)).buildId).toBeNull()
  })

  test('are a build of their own for other values for run time only, where its making has read these', async () => {
    const setForRunTime = (value: string) =>
      setEnv(sql, { app, environment: 'production' }, { values: { A: value }, runtimeOnly: true, by: 'ada', key })
    const key = randomBytes(32)
    await setForRunTime('1')
    const [unread, read] = [await built(await push('1.0.0', tree), false), 'b'.repeat(40)]
    const made = await built(await push('2.0.0', read), false, true)
    expect((await push('2.0.0', null)).buildId).toBe(made)
    expect((await push('2.0.1', read)).buildId).toBe(made)
    await setForRunTime('2')
    expect((await push('1.0.1', tree)).buildId).toBe(unread)
    expect((await push('2.0.0', null)).buildId).toBeNull()
    expect((await push('2.0.2', read)).buildId).toBeNull()
  })

  test('are taken from where they are kept already', async () => {
    const first = await createDeployment(sql, {
      ...{ app, target: targetOfBranch({ id: app, productionBranch: 'main' }, 'main'), version: '1.0.0' },
      ...{ source: 'git', by: 'ada', sourceTree: tree, sourceKey: 'sources/kept' },
    })
    expect(await findSource(sql, { app, sourceTree: tree })).toBe(first.sourceKey)
    expect(await findSource(sql, { app, sourceTree: 'b'.repeat(40) })).toBeNull()
  })
})

describe('moving', () => {
  test('a move happens once, is recorded, and only from the state it expects', async () => {
    const { id } = await deploy()
    await claimBuild(sql, id, 'worker-1')
    const moves = await Promise.all(
      Array.from({ length: 8 }, () => moveDeployment(sql, id, { from: 'building', to: 'built', by: 'worker-1' })),
    )
    expect(moves.filter(Boolean)).toHaveLength(1)
    expect(await listEvents(sql, id)).toMatchObject([
      { fromState: null, toState: 'queued', by: 'ada' },
      { fromState: 'queued', toState: 'building', by: 'worker-1' },
      { fromState: 'building', toState: 'built', by: 'worker-1', durationMs: expect.any(Number) },
    ])
  })

  test('an illegal move is refused by the database itself', async () => {
    const { id } = await deploy()
    await expect(moveDeployment(sql, id, { from: 'queued', to: 'live', by: 'ada' })).rejects.toThrow(
      `deployment ${id} may not move from queued to live`,
    )
  })
})

describe('claiming', () => {
  test('of twenty workers one gets the deployment', async () => {
    const { id } = await deploy()
    const claims = await Promise.all(Array.from({ length: 20 }, (_, index) => claimBuild(sql, id, `w${index}`)))
    expect(claims.filter(Boolean)).toHaveLength(1)
  })

  test('while one deployment of a route is running, the next one waits', async () => {
    const first = await deploy('1.0.0')
    await claimBuild(sql, first.id, 'w')
    const second = await deploy('1.0.1')
    expect(await claimBuild(sql, second.id, 'w')).toBeNull()
    await cancelDeployment(sql, first.id, { by: 'ada', reason: 'test' })
    expect(await claimBuild(sql, second.id, 'w')).not.toBeNull()
  })

  test('a worker that lost its attempt can neither beat nor record nor move', async () => {
    const { id } = await deploy()
    const slow = await claimBuild(sql, id, 'slow')
    if (!slow) throw new Error('not claimed')
    await sql`update deployments set heartbeat_at = now() - interval '1 minute' where id = ${id}`
    expect(await requeueAbandoned(sql, {})).toMatchObject([{ id, state: 'queued' }])
    const fast = await claimBuild(sql, id, 'fast')

    expect(fast?.attempt).toBe(2)
    expect(await heartbeat(sql, slow)).toBe(false)
    expect(await recordBuild(sql, slow, buildOf())).toBe(false)
    expect(
      await moveDeployment(sql, id, { from: 'building', to: 'built', by: 'slow', attempt: slow.attempt }),
    ).toBeNull()
    await releaseClaim(sql, slow, 'late')
    expect((await findDeployment(sql, id))?.state).toBe('building')
  })

  test('a deployment whose worker died three times fails with a reason', async () => {
    const { id } = await deploy()
    for (const worker of ['a', 'b', 'c']) {
      expect(await claimBuild(sql, id, worker)).not.toBeNull()
      await requeueAbandoned(sql, { workerId: worker })
    }
    expect(await findDeployment(sql, id)).toMatchObject({
      state: 'failed',
      errorCode: 'INTERNAL',
      stateReason: expect.stringContaining('ended 3 times'),
    })
  })
})

test('what is over cannot be cancelled, and the message says what to do instead', async () => {
  const { id } = await deploy()
  await cancelDeployment(sql, id, { by: 'ada', reason: 'by hand' })
  await expect(cancelDeployment(sql, id, { by: 'ada', reason: 'again' })).rejects.toThrow(
    'is cancelled and cannot be cancelled',
  )
  await expect(cancelDeployment(sql, 'nothing', { by: 'ada', reason: 'x' })).rejects.toThrow(
    expect.objectContaining({ code: 'DEPLOYMENT_NOT_FOUND' }),
  )
})
