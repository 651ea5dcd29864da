import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { startControlPlane } from '../test/support/control-plane.ts'
import { lockApp, readLocks, unlockApp } from './app-locks.ts'
import { targetOfBranch } from './branches.ts'
import { readBuildLog } from './build-logs.ts'
import { createDeployment, type Deployment, findDeployment, type NewDeployment } from './deployments.ts'
import { lockWithRoute } from './live.ts'
import { findRollbackTarget, rollBack } from './rollback.ts'
import { endRollout, type Rollout } from './rollout.ts'
import { abortRollout, findRolloutOfApp, pauseRollout, promoteRollout, resumeRollout } from './rollout-commands.ts'
import { revertRollout } from './rollout-ends.ts'
import { readRoutes } from './routes.ts'

const plane = await startControlPlane()
const { sql, config } = plane
afterAll(() => plane.close())

const bea = { by: 'bea' }
let app: string
let old: Deployment
let rollout: Rollout
beforeEach(async () => {
  app = await plane.app()
  old = await plane.deployed(app, '1.0.0')
  rollout = await plane.rollout(app, '1.0.1')
})

const routeOf = async () => (await readRoutes(sql)).find(({ appId }) => appId === app)
const stateOf = async (id: string) => (await findDeployment(sql, id))?.state
const newState = () => stateOf(rollout.toDeployment)
const logOf = async (id: string) => (await readBuildLog(sql, id)).map(({ text }) => text).join('\n')
const historyOf = () => sql<{ kind: string; by: string; sentence: string }[]>`
  select kind, by, sentence
  from rollout_decisions
  where rollout_id = ${rollout.id}
  order by id
`

describe('a rollout', () => {
  test('is paused and goes on, each with who and why; the weight stays', async () => {
    const paused = await pauseRollout(sql, app, { by: 'bea', reason: 'sale at noon' })
    expect(paused).toMatchObject({ percent: 5, rollout: { state: 'paused' }, candidate: { state: 'canary' } })
    expect(await routeOf()).toMatchObject({ weight: 5, candidate: { id: rollout.toDeployment } })
    expect((await resumeRollout(sql, app, bea)).rollout.state).toBe('observing')
    expect(await historyOf()).toMatchObject([
      { kind: 'paused', by: 'bea', sentence: 'paused at 5 % by bea: sale at noon' },
      { kind: 'resumed', by: 'bea', sentence: 'resumed at 5 % by bea' },
    ])
    expect(await logOf(rollout.toDeployment)).toContain('paused at 5 % by bea: sale at noon')
  })

  test('that was read before an order is another one after it', async () => {
    const { rollout: paused } = await pauseRollout(sql, app, bea)
    expect(paused.revision).toBeGreaterThan(rollout.revision)
    expect((await pauseRollout(sql, app, bea)).rollout.revision).toBe(paused.revision)
    expect(await historyOf()).toHaveLength(1)
  })

  test('gets the share somebody says, as a stage with a clock of its own and the limits of the one before', async () => {
    await sql`update rollouts set active_sec = 290, state = 'held' where id = ${rollout.id}`
    const { rollout: moved, percent } = await promoteRollout(sql, app, { percent: 30, config, ...bea })
    expect({ percent, ...moved }).toMatchObject({ percent: 30, segment: 1, state: 'observing', confidence: 'by hand' })
    expect(await routeOf()).toMatchObject({
      weight: 30,
      rollout: { stage: 1, segment: 1, slowMs: 50, tooSlowMs: 75 },
    })
    expect(await sql`select active_sec from rollouts where id = ${rollout.id}`).toMatchObject([{ activeSec: 0 }])
    expect(await historyOf()).toMatchObject([{ kind: 'promoted', sentence: '5 % → 30 % by bea' }])
  })

  test('at 100 % the new version is live and the old one is kept warm, and going back is still an abort', async () => {
    const { candidate } = await promoteRollout(sql, app, { percent: 100, config, ...bea })
    expect([candidate.state, await stateOf(old.id)]).toEqual(['live', 'superseded'])
    expect(await routeOf()).toMatchObject({ candidate: null, warm: { id: old.id }, rollout: { stage: 1 } })
    await abortRollout(sql, app, { by: 'bea', reason: 'wrong colour' })
    expect([await newState(), await stateOf(old.id)]).toEqual(['rolled_back', 'live'])
    expect(await logOf(rollout.toDeployment)).toContain('taken back at 100 % by bea: wrong colour')
  })

  test('gets no smaller share than it has', async () => {
    await expect(promoteRollout(sql, app, { percent: 3, config, ...bea })).rejects.toThrow('atelier abort')
    expect(await routeOf()).toMatchObject({ weight: 5 })
    const same = await promoteRollout(sql, app, { percent: 5, config, ...bea })
    expect(same).toMatchObject({ percent: 5, rollout: { segment: 0 } })
    expect(await historyOf()).toEqual([])
  })

  test('that is aborted sends nobody to the new version any more, which is rolled back and not failed', async () => {
    await abortRollout(sql, app, bea)
    expect([await newState(), await stateOf(old.id)]).toEqual(['rolled_back', 'live'])
    expect(await routeOf()).toMatchObject({ weight: 0, candidate: null, live: { id: old.id }, rollout: null })
    expect(await findRolloutOfApp(sql, app)).toBeNull()
  })

  test.each(['pause', 'resume', 'promote', 'abort'])('that is over takes no %s', async (what) => {
    await abortRollout(sql, app, bea)
    const orders: Record<string, () => Promise<unknown>> = {
      pause: () => pauseRollout(sql, app, bea),
      resume: () => resumeRollout(sql, app, bea),
      promote: () => promoteRollout(sql, app, { percent: 50, config, ...bea }),
      abort: () => abortRollout(sql, app, bea),
    }
    await expect(orders[what]?.()).rejects.toMatchObject({ code: 'NO_ROLLOUT' })
    await expect(orders[what]?.()).rejects.toThrow('atelier status')
  })

  test('that is held is not resumed but promoted or aborted', async () => {
    await sql`update rollouts set state = 'held' where id = ${rollout.id}`
    await expect(resumeRollout(sql, app, bea)).rejects.toThrow('atelier promote <percent>')
  })

  test('takes twenty orders at once one after the other', async () => {
    const promote = (_: unknown, index: number) =>
      promoteRollout(sql, app, { percent: 10 + index, config, ...bea }).catch(({ code }) => code)
    const results = await Promise.all(Array.from({ length: 20 }, promote))
    expect(results.filter((result) => result !== 'DEPLOYMENT_STATE').length).toBeGreaterThan(0)
    const { weight, rollout: routed } = (await routeOf()) ?? {}
    expect(weight).toBe(29)
    expect(
      await sql`select percent from rollout_segments where rollout_id = ${rollout.id} order by ordinal desc`,
    ).toHaveLength((routed?.segment ?? 0) + 1)
  })
})

test('a version that was taken back keeps why when the next push comes before the edges have followed', async () => {
  const sentence = 'errors 3/3 vs 0/57 (evidence 876, bar 750)'
  await sql.begin(async (tx) => {
    await lockWithRoute(tx, rollout.toDeployment)
    await revertRollout(tx, rollout, { to: 'failed', by: 'platform', sentence })
  })
  await plane.rollout(app, '1.0.2')
  const [ended] = await sql`select state, sentence, reasons from rollouts where id = ${rollout.id}`
  expect(ended).toMatchObject({ state: 'aborted', sentence, reasons: { failingPaths: [] } })
  expect(await historyOf()).toMatchObject([
    { kind: 'reverting', sentence },
    { kind: 'aborted', sentence },
  ])
  expect(await logOf(rollout.toDeployment)).toContain('mend it and push')
})

describe('a rollback during a rollout', () => {
  test('without a name goes back to the version that is live', async () => {
    const { live, previous } = await rollBack(sql, await findRollbackTarget(sql, app, null), bea)
    expect([live.id, previous.id, previous.state]).toEqual([old.id, rollout.toDeployment, 'rolled_back'])
    expect(await routeOf()).toMatchObject({ weight: 0, candidate: null, live: { id: old.id } })
  })

  test('at 100 % goes back to the version before, and the rollout counts as aborted', async () => {
    await promoteRollout(sql, app, { percent: 100, config, ...bea })
    const { live } = await rollBack(sql, await findRollbackTarget(sql, app, null), bea)
    expect([live.id, await newState()]).toEqual([old.id, 'rolled_back'])
    expect(await sql`select state from rollouts where id = ${rollout.id}`).toMatchObject([{ state: 'aborted' }])
  })

  test.each(['verdict', 'person'])(
    'a moment after a %s took the new version back takes nothing further back',
    async (who) => {
      await promoteRollout(sql, app, { percent: 100, config, ...bea })
      await sql`update rollouts set state = 'done', ended_at = clock_timestamp() where id = ${rollout.id}`
      const third = await plane.rollout(app, '1.0.2')
      if (who === 'person') await abortRollout(sql, app, bea)
      else
        await sql.begin(async (tx) => {
          await lockWithRoute(tx, third.toDeployment)
          await revertRollout(tx, third, { to: 'failed', by: 'platform', sentence: 'errors 3/3 vs 0/57' })
        })
      for (const state of ['reverting', 'aborted']) {
        expect(await sql`select state from rollouts where id = ${third.id}`).toEqual([{ state }])
        await expect(findRollbackTarget(sql, app, null)).rejects.toMatchObject({
          code: 'ALREADY_BACK',
          message: '1.0.2 (v3) was already taken back; 1.0.1 (v2) is live. Further back: atelier rollback v1',
        })
        await sql.begin((tx) => endRollout(tx, third, { state: 'aborted', sentence: 'over', by: 'platform' }))
      }
      expect(await newState()).toBe('live')
      await rollBack(sql, await findRollbackTarget(sql, app, 'v1'), bea)
      expect(await stateOf(old.id)).toBe('live')
    },
  )

  test('to a version newer than the live one holds the automatic doors, for the one under way was taken back', async () => {
    await promoteRollout(sql, app, { percent: 100, config, ...bea })
    await rollBack(sql, await findRollbackTarget(sql, app, '1.0.0'), bea)
    await plane.rollout(app, '1.0.2')
    expect(await readLocks(sql, [app])).toEqual([])
    const { live } = await rollBack(sql, await findRollbackTarget(sql, app, '1.0.1'), bea)
    expect([live.id, await stateOf(old.id)]).toEqual([rollout.toDeployment, 'superseded'])
    expect(await readLocks(sql, [app])).toMatchObject([{ kind: 'hold', message: '1.0.2 (v3) was rolled back by bea' }])
  })

  test('to an older version still ends the rollout', async () => {
    await promoteRollout(sql, app, { percent: 100, config, ...bea })
    const next = await plane.rollout(app, '1.0.2')
    await rollBack(sql, await findRollbackTarget(sql, app, '1.0.0'), bea)
    expect([await stateOf(next.toDeployment), await newState(), await stateOf(old.id)]).toEqual([
      'rolled_back',
      'rolled_back',
      'live',
    ])
  })
})

describe('the doors of an app', () => {
  const deploy = (more: Partial<NewDeployment> = {}) =>
    createDeployment(sql, {
      app,
      target: targetOfBranch({ id: app, productionBranch: 'main' }, 'main'),
      version: '2.0.0',
      source: 'upload',
      by: 'cy',
      ...more,
    })

  test('are held by a lock, all but those of previews, and the refusal says who, why and what to do', async () => {
    await lockApp(sql, { app, by: 'bea', message: 'migrating' })
    for (const door of ['by hand', 'automatic'] as const)
      await expect(deploy({ door })).rejects.toMatchObject({
        code: 'APP_LOCKED',
        message: `${app} is locked by bea (migrating); to lift it: atelier unlock`,
      })
    await deploy({ target: targetOfBranch({ id: app, productionBranch: 'main' }, 'pr/1') })
    expect(await unlockApp(sql, { app, by: 'cy' })).toMatchObject([{ kind: 'lock', by: 'bea' }])
    expect(await deploy()).toMatchObject({ state: 'queued' })
  })

  test('open for who unlocks with what they deploy, and its log says so', async () => {
    await lockApp(sql, { app, by: 'bea', message: 'migrating' })
    const { id } = await deploy({ door: 'unlocking' })
    expect(await logOf(id)).toContain('the lock by bea (migrating) is lifted')
    expect(await readLocks(sql, [app])).toEqual([])
  })

  test('that are automatic are held after a version was taken back, until somebody deploys by hand', async () => {
    await deploy({ door: 'automatic' })
    await abortRollout(sql, app, bea)
    await expect(deploy({ door: 'automatic' })).rejects.toMatchObject({ code: 'APP_HELD' })
    await deploy()
    await deploy({ door: 'automatic' })
  })

  test('are held after a rollback too, until somebody unlocks', async () => {
    await promoteRollout(sql, app, { percent: 100, config, ...bea })
    await rollBack(sql, await findRollbackTarget(sql, app, null), bea)
    await expect(deploy({ door: 'automatic' })).rejects.toThrow('1.0.1 (v2) was rolled back by bea')
    await unlockApp(sql, { app, by: 'bea' })
    await deploy({ door: 'automatic' })
  })

  test('let a deployment in before the lock or not at all', async () => {
    const [, ...made] = await Promise.allSettled([
      lockApp(sql, { app, by: 'bea', message: 'x' }),
      ...Array.from({ length: 8 }, () => deploy()),
    ])
    const refused = made.filter(({ status }) => status === 'rejected')
    await expect(deploy()).rejects.toMatchObject({ code: 'APP_LOCKED' })
    const [kept] = await sql`
      select count(*)::integer as count
      from deployments
      where app_id = ${app}
        and created_by = 'cy'
    `
    expect(kept).toMatchObject({ count: made.length - refused.length })
  })

  test('are locked when the deployment that is being made at that moment is made', async () => {
    const waiting = async () => {
      const [row] = await sql`
        select count(*)::integer as count
        from pg_stat_activity
        where datname = current_database()
          and wait_event_type = 'Lock'
      `
      return row?.count
    }
    const { locking } = await sql.begin(async (tx) => {
      await tx`update apps set last_number = last_number + 1 where id = ${app}`
      // Not awaited: it waits for this transaction.
      const begun = { locking: lockApp(sql, { app, by: 'bea', message: 'x' }) }
      await expect.poll(waiting).toBe(1)
      expect(await readLocks(sql, [app])).toEqual([])
      return begun
    })
    expect(await locking).toMatchObject({ kind: 'lock' })
  })

  test('never hold back who goes back', async () => {
    await lockApp(sql, { app, by: 'bea', message: 'x' })
    await promoteRollout(sql, app, { percent: 50, config, ...bea })
    await rollBack(sql, await findRollbackTarget(sql, app, null), bea)
    expect(await newState()).toBe('rolled_back')
  })
})
