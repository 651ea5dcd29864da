import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import {
  bring,
  config,
  counted,
  insertHistory,
  letPass,
  liveApp,
  PlayedEdges,
  rolloutOf,
} from '../../test/support/rollout.ts'
import { readBuildLog } from '../build-logs.ts'
import { type Deployment, findDeployment } from '../deployments.ts'
import { forgetDeadEdges } from '../edges.ts'
import { followBuildLog } from '../followed-log.ts'
import { newId } from '../ids.ts'
import { createLog } from '../log.ts'
import type { Rollout } from '../rollout.ts'
import { defaultRolloutPolicy, type RolloutPolicy, rolloutPolicy } from '../rollout-policy.ts'
import { insertProbe } from '../rollout-probes.ts'
import type { ReportedCounts } from '../rollout-reports.ts'
import { readRolloutView } from '../rollout-view.ts'
import { pruneBins } from '../route-bins.ts'
import { readRoutes } from '../routes.ts'
import type { Verdict } from './decide.ts'
import { readEdgeTraffic } from './history.ts'
import { tick } from './tick.ts'
import { readWatched } from './watched.ts'

const database = await createDatabase({ max: 8 })
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())
const log = createLog('test')
log.level = 'silent'

const windowSec = 300
let edges: PlayedEdges
beforeEach(async () => {
  await sql`delete from edges`
  edges = new PlayedEdges(
    sql,
    [1, 2, 3].map(() => newId()),
  )
})

type Stand = { app: string; live: Deployment; candidate: Deployment; rollout: Rollout }

async function begin({
  requests = 100,
  policy = null,
}: {
  requests?: number
  policy?: RolloutPolicy | null
} = {}): Promise<Stand> {
  const { app, live } = await liveApp(sql)
  await edges.follow()
  if (requests > 0) await insertHistory(sql, live, { edges: edges.ids, requests })
  const candidate = await bring(sql, app, policy)
  return { app, live, candidate, rollout: await rolloutOf(sql, candidate) }
}

async function look({ id }: Rollout, epoch?: number): Promise<Verdict | null> {
  const [watched] = await readWatched(sql, [id])
  const [leader] = await sql<{ epoch: number }[]>`select epoch from rollout_leader`
  if (!watched || !leader) return null
  const traffic = await readEdgeTraffic(sql, watched.routeId)
  return tick(watched, { sql, config, log, epoch: epoch ?? leader.epoch, traffic })
}

/** A look that opens a segment, and the edges that follow. */
async function step(rollout: Rollout): Promise<Verdict | null> {
  const verdict = await look(rollout)
  await edges.follow()
  return verdict
}

type Stood = { state: string; segment: number; confidence: string | null; sentence: string; activeSec: number }
const stand = async ({ id }: Rollout) => (await sql<Stood[]>`select * from rollouts where id = ${id}`)[0]
const stateOf = async ({ id }: Deployment) => (await findDeployment(sql, id))?.state
const routeOf = async (app: string) => (await readRoutes(sql)).find(({ appId }) => appId === app)
const kindsOf = async ({ id }: Rollout) =>
  (await sql`select kind from rollout_decisions where rollout_id = ${id} order by id`).map(({ kind }) => kind)
const linesOf = async ({ id }: Deployment) => (await readBuildLog(sql, id)).map(({ text }) => text.trimEnd())

const fine = (segment: number, candidate: number, baseline: number, bad: Partial<ReportedCounts> = {}) => [
  counted(segment, 'candidate', { requests: candidate, tosses: candidate, timedRequests: candidate, ...bad }),
  counted(segment, 'baseline', { requests: baseline, tosses: baseline, timedRequests: baseline }),
]

const outage = (segment: number) => [
  counted(segment, 'candidate', { requests: 50, tosses: 50, errorRequests: 10, errorUnits: 10 }),
  counted(segment, 'baseline', { requests: 950, tosses: 950, errorRequests: 190, errorUnits: 190 }),
]

describe('a version that is as good as the old one', () => {
  test('goes from stage to stage, is live at 100 % and watched for one window more', async () => {
    const { app, live, candidate, rollout } = await begin()
    expect((await findDeployment(sql, candidate.id))?.trafficAt).toBeNull()
    expect(await step(rollout)).toMatchObject({ kind: 'advance', next: 5 })
    expect(await routeOf(app)).toMatchObject({ weight: 5, live: { id: live.id }, rollout: { stage: 0, segment: 0 } })
    expect((await findDeployment(sql, candidate.id))?.trafficAt).toBeInstanceOf(Date)

    const weights = [5, 25, 50]
    for (const [stage, percent] of weights.entries()) {
      const segment = 2 * stage
      expect((await routeOf(app))?.weight).toBe(percent)
      await edges.report(rollout, fine(segment, 10 * percent, 1000 - 10 * percent))
      await letPass(sql, rollout, windowSec / 2)
      expect(await step(rollout)).toMatchObject({ kind: 'observe', cut: 'half' })
      await edges.report(rollout, [
        ...fine(segment, 10 * percent, 1000 - 10 * percent),
        ...fine(segment + 1, 10 * percent, 1000 - 10 * percent),
      ])
      await letPass(sql, rollout, windowSec / 2)
      expect(await step(rollout)).toMatchObject({ kind: 'advance', next: weights[stage + 1] ?? 100 })
    }
    expect([await stateOf(candidate), await stateOf(live)]).toEqual(['live', 'superseded'])
    expect(await routeOf(app)).toMatchObject({ live: { id: candidate.id }, candidate: null, warm: { id: live.id } })

    await edges.report(rollout, fine(6, 1000, 0))
    await letPass(sql, rollout, windowSec)
    const { generation = 0 } = (await routeOf(app)) ?? {}
    expect(await look(rollout)).toMatchObject({ kind: 'advance', next: null })
    expect(await stand(rollout)).toMatchObject({ state: 'done', confidence: 'full' })
    expect(await routeOf(app)).toMatchObject({ warm: null, rollout: null, generation: generation + 1 })
    expect(await linesOf(candidate)).toEqual([
      '-----> Canary      begins at 5 %',
      expect.stringMatching(/^ {7}follow it: atelier status/),
      expect.stringMatching(/^-----> Canary {6}5 % → 25 %: errors 0\/300 vs 0\/5700, evidence errors/),
      expect.stringMatching(/^-----> Canary {6}25 % → 50 %: /),
      expect.stringMatching(/^-----> Canary {6}50 % → 100 %: /),
      expect.stringMatching(/^-----> Live/),
      expect.stringMatching(/back: atelier rollback/),
      '-----> Canary      done',
    ])
  })

  test('is held against the P95 of the old one from its first stage on, or from when that is known', async () => {
    const { app, rollout } = await begin()
    await step(rollout)
    const { slowMs = 0, tooSlowMs = 0 } = (await routeOf(app))?.rollout ?? {}
    expect(slowMs).toBeGreaterThan(90)
    expect(slowMs).toBeLessThan(98)
    expect(tooSlowMs).toBeCloseTo(1.5 * (slowMs ?? 0))

    const young = await begin({ requests: 0 })
    await insertHistory(sql, young.live, { edges: edges.ids.slice(0, 1), requests: 1 })
    await step(young.rollout)
    expect((await routeOf(young.app))?.rollout).toMatchObject({ slowMs: null })
    await edges.report(young.rollout, fine(0, 10, 190))
    await insertHistory(sql, young.live, { edges: edges.ids.slice(1), requests: 100 })
    await letPass(sql, young.rollout, windowSec / 2)
    expect(await step(young.rollout)).toMatchObject({ cut: 'half' })
    expect((await routeOf(young.app))?.rollout).toMatchObject({ segment: 1, slowMs: expect.any(Number) })
  })
})

test('what the build of an older platform leaves open of its policy is as it is by default', async () => {
  const { rollout } = await begin({ policy: { stages: [10, 100] } as RolloutPolicy })
  expect(rollout.policy).toEqual({ ...defaultRolloutPolicy, stages: [10, 100] })
  expect(await look(rollout)).toMatchObject({ kind: 'advance', next: 10 })
})

describe('a version that is worse', () => {
  test('is taken back with its numbers, and the rollout is over when the edges have followed', async () => {
    const { app, live, candidate, rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, fine(0, 1, 19, { errorRequests: 1, errorUnits: 1 }))
    expect(await look(rollout)).toMatchObject({ kind: 'rollback', cause: 'errors' })

    const sentence = 'errors 3/3 vs 0/57 (evidence 876, bar 750)'
    expect(await findDeployment(sql, candidate.id)).toMatchObject({
      state: 'failed',
      stateReason: sentence,
      errorCode: 'ROLLED_BACK',
    })
    expect(await routeOf(app)).toMatchObject({ weight: 0, candidate: null, live: { id: live.id }, rollout: null })
    expect(await stand(rollout)).toMatchObject({ state: 'reverting', sentence, endedAt: null })
    expect((await linesOf(candidate)).at(-1)).toBe(`-----> Canary      taken back: ${sentence}`)

    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
    await edges.follow(edges.ids.slice(0, 2))
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
    await edges.follow()
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'aborted', sentence, endedAt: expect.any(Date) })
    expect(await kindsOf(rollout)).toEqual(['advance', 'reverting', 'aborted'])
  })

  test('is not over while the edges that have its visitors are cut off; those that never come back are forgotten', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, fine(0, 1, 19, { errorRequests: 1, errorUnits: 1 }))
    await sql`update edges set seen_at = now() - interval '1 minute'`
    expect(await look(rollout)).toMatchObject({ kind: 'rollback' })
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
    const idle = newId()
    await edges.follow([idle])
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
    await sql`delete from edges`
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'aborted' })
  })

  test('at 100 % gives way to the old one', async () => {
    const policy = rolloutPolicy.parse({ stages: [100] })
    const { app, live, candidate, rollout } = await begin({ policy })
    await step(rollout)
    expect(await stateOf(candidate)).toBe('live')
    await edges.report(rollout, fine(0, 100, 0, { errorRequests: 90, errorUnits: 90 }))
    expect(await look(rollout)).toMatchObject({ kind: 'rollback', cause: 'guard' })
    expect([await stateOf(candidate), await stateOf(live)]).toEqual(['failed', 'live'])
    expect(await routeOf(app)).toMatchObject({ live: { id: live.id }, warm: null })
  })

  test('is taken back though somebody paused the rollout; one that is not stays where it is', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, fine(0, 50, 950))
    await sql`update rollouts set state = 'paused', sentence = 'paused by ada', revision = revision + 1 where id = ${rollout.id}`
    await letPass(sql, rollout, 3 * windowSec)
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ state: 'paused', sentence: 'paused by ada', segment: 0, activeSec: 0 })
    await edges.report(rollout, fine(0, 60, 950, { errorRequests: 10, errorUnits: 10 }))
    expect(await look(rollout)).toMatchObject({ kind: 'rollback' })
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
  })

  test('together with the old one is taken back after a window of it though somebody paused the rollout, and that is said before', async () => {
    const { candidate, rollout } = await begin()
    await step(rollout)
    await sql`update rollouts set state = 'paused', sentence = 'paused by ada', revision = revision + 1 where id = ${rollout.id}`
    await edges.report(rollout, outage(0))
    expect(await step(rollout)).toMatchObject({ kind: 'hold', cause: 'guard', cut: 'guard' })
    const held = { state: 'paused', sentence: 'paused by ada', guardHeldSince: expect.any(Date) }
    expect(await stand(rollout)).toMatchObject({ ...held, segment: 1 })
    const said = /together, 600\/3000 lately \(.* tolerated\); when that lasts for 300 s the new version is taken back$/
    expect((await linesOf(candidate)).at(-1)).toMatch(said)
    expect((await readRolloutView(sql, rollout.id))?.remarks[0]).toMatch(said)

    for (const segment of [1, 2]) {
      await edges.report(rollout, outage(segment))
      await letPass(sql, rollout, windowSec / 2)
      await step(rollout)
    }
    expect(await stand(rollout)).toMatchObject({
      state: 'reverting',
      sentence: expect.stringContaining('both versions'),
    })
  })

  test('together with the old one for less than a window is told no more when it is over, and the rollout stays paused', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await sql`update rollouts set state = 'paused', revision = revision + 1 where id = ${rollout.id}`
    await edges.report(rollout, outage(0))
    expect(await step(rollout)).toMatchObject({ kind: 'hold', cause: 'guard', cut: 'guard' })
    await edges.report(rollout, [...outage(0), ...fine(1, 50, 950)])
    await letPass(sql, rollout, windowSec / 2)
    expect(await look(rollout)).toMatchObject({ kind: 'observe' })
    expect(await stand(rollout)).toMatchObject({ state: 'paused', segment: 1, guardHeldSince: null })
    expect((await readRolloutView(sql, rollout.id))?.remarks).toEqual([])
  })

  test('the same for both versions is held, and goes on when it is over', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, outage(0))
    expect(await step(rollout)).toMatchObject({ kind: 'hold', cause: 'guard', cut: 'guard' })
    expect(await stand(rollout)).toMatchObject({ state: 'held', segment: 1 })
    await edges.report(rollout, [...outage(0), ...fine(1, 50, 950)])
    await letPass(sql, rollout, windowSec / 2)
    expect(await step(rollout)).toMatchObject({ kind: 'observe' })
    expect(await stand(rollout)).toMatchObject({ state: 'observing', guardHeldSince: null })
  })
})

describe('without traffic', () => {
  test('a version that answers probes is live at once, unverified', async () => {
    const { app, candidate, rollout } = await begin({ requests: 0 })
    expect(await look(rollout)).toMatchObject({ kind: 'probe' })
    expect(await look(rollout)).toMatchObject({ kind: 'probe' })
    const probe = { rolloutId: rollout.id, turn: 0, passed: 10, failed: 0, reason: null }
    for (const edgeId of edges.ids) {
      expect(await stateOf(candidate)).toBe('canary')
      await insertProbe(sql, { ...probe, edgeId })
      await look(rollout)
    }
    expect(await stateOf(candidate)).toBe('live')
    expect(await stand(rollout)).toMatchObject({ confidence: 'unverified' })
    expect((await linesOf(candidate))[0]).toBe('-----> Canary      begins at 100 % (unverified: no traffic)')

    await edges.follow()
    await edges.report(rollout, [counted(0, 'candidate', {})])
    await letPass(sql, rollout, windowSec)
    expect(await look(rollout)).toMatchObject({ kind: 'advance', next: null, confidence: 'unverified' })
    expect((await routeOf(app))?.live?.id).toBe(candidate.id)
  })

  test('an edge that does not answer within 5 s is not waited for', async () => {
    const { candidate, rollout } = await begin({ requests: 0 })
    await look(rollout)
    await insertProbe(sql, {
      rolloutId: rollout.id,
      turn: 0,
      edgeId: edges.ids[0] ?? '',
      passed: 10,
      failed: 0,
      reason: null,
    })
    await look(rollout)
    expect(await stateOf(candidate)).toBe('canary')
    await letPass(sql, rollout, 5)
    await look(rollout)
    expect(await stateOf(candidate)).toBe('live')
  })

  test('a version that fails them is held, and asked again after a minute', async () => {
    const { candidate, rollout } = await begin({ requests: 0 })
    await look(rollout)
    const failed = { rolloutId: rollout.id, turn: 0, passed: 9, failed: 1, reason: 'status 500' }
    for (const edgeId of edges.ids) await insertProbe(sql, { ...failed, edgeId })
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'probes', alert: true })
    expect(await stand(rollout)).toMatchObject({ state: 'held', probeTurn: 0 })
    const followed: unknown[] = []
    for await (const told of followBuildLog(sql, candidate.id)) followed.push(told)
    expect(followed.at(-1)).toMatchObject({ end: { state: 'canary', trafficAt: null } })
    expect(await linesOf(candidate)).toEqual([
      '-----> Canary      held at 0 %: 3 of the probes failed (status 500), and there is no traffic to judge by',
      '       all the same: atelier promote 100; or push a fix',
    ])
    await letPass(sql, rollout, 61)
    await look(rollout)
    expect(await stand(rollout)).toMatchObject({ probeTurn: 1 })
    for (const edgeId of edges.ids) await insertProbe(sql, { ...failed, turn: 1, passed: 10, failed: 0, edgeId })
    await look(rollout)
    expect(await stateOf(candidate)).toBe('live')
  })

  test('and held for the night, a version begins at the first stage when there are visitors in the morning', async () => {
    const { live, candidate, rollout } = await begin({ requests: 0 })
    await look(rollout)
    const probe = { rolloutId: rollout.id, passed: 10, failed: 0, reason: null }
    for (const edgeId of edges.ids) await insertProbe(sql, { ...probe, turn: 0, passed: 0, failed: 10, edgeId })
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'probes' })
    await insertHistory(sql, live, { edges: edges.ids, requests: 1000 })
    expect(await look(rollout)).toMatchObject({ kind: 'advance', next: 5, confidence: 'full' })
    expect(await stateOf(candidate)).toBe('canary')
  })

  test('a version that goes on failing them leaves no rows for every time it is asked', async () => {
    const { rollout } = await begin({ requests: 0 })
    const fail = async (turn: number) => {
      for (const edgeId of edges.ids)
        await insertProbe(sql, { rolloutId: rollout.id, turn, edgeId, passed: 9, failed: 1, reason: 'status 500' })
    }
    await look(rollout)
    for (let turn = 0; turn < 5; turn++) {
      expect(await stand(rollout)).toMatchObject({ probeTurn: turn })
      await look(rollout)
      await fail(turn)
      expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'probes' })
      expect((await stand(rollout))?.sentence).toContain('3 of the probes failed (status 500)')
      await letPass(sql, rollout, 61)
      await look(rollout)
    }
    expect(await kindsOf(rollout)).toEqual(['probe', 'hold'])
    expect(await sql`select distinct turn from rollout_probes where rollout_id = ${rollout.id}`).toEqual([{ turn: 4 }])
  })

  test('for the new version, where 250 requests were due, it is held and not promoted', async () => {
    const { candidate, rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, [counted(0, 'baseline', { requests: 5000, tosses: 5000 })], edges.ids.slice(0, 1))
    await edges.report(rollout, [counted(0, 'candidate', {})], edges.ids.slice(1))
    await letPass(sql, rollout, 3 * windowSec)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'split' })
    expect(await stand(rollout)).toMatchObject({ state: 'held', segment: 1 })
    expect(await stateOf(candidate)).toBe('canary')
  })
})

describe('with edges cut off', () => {
  const counts = fine(0, 50, 950)

  test('one of three: nothing is taken back, nothing goes on, and it catches up on its return', async () => {
    const { rollout } = await begin()
    await step(rollout)
    const [cut = '', ...others] = edges.ids
    await edges.report(rollout, counts)
    await sql`update edges set seen_at = now() - interval '1 minute' where id = ${cut}`
    await sql`update rollout_reports set at = at - interval '1 minute' where edge_id = ${cut}`
    await letPass(sql, rollout, windowSec / 2)
    await look(rollout)
    await edges.follow(others)
    const before = (await stand(rollout))?.activeSec
    await letPass(sql, { id: 'no other' }, 0)
    await sql`update rollout_segments set opened_at = opened_at - interval '10 minutes' where rollout_id = ${rollout.id}`
    await sql`update rollouts set ticked_at = ticked_at - interval '5 seconds' where id = ${rollout.id}`
    await edges.report(rollout, [...counts, ...fine(1, 50, 950)], others)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage', alert: false })
    expect(await stand(rollout)).toMatchObject({ state: 'held', activeSec: before })
    await letPass(sql, rollout, windowSec)
    await edges.report(rollout, [...counts, ...fine(1, 100, 1900)], others)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage' })
    await letPass(sql, rollout, 601)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage', alert: true })

    await edges.follow()
    await edges.report(rollout, [...counts, ...fine(1, 100, 1900)])
    expect(await step(rollout)).toMatchObject({ kind: 'advance', next: 25 })
    const held = await sql`select kind from rollout_decisions where rollout_id = ${rollout.id} and kind = 'hold'`
    expect(held).toHaveLength(2)
  })

  test('one of three, for longer than bins are kept: it counts until it is forgotten', async () => {
    const { rollout } = await begin()
    await step(rollout)
    const [cut = '', ...others] = edges.ids
    await edges.report(rollout, counts)
    await sql`update edges set seen_at = now() - interval '50 minutes' where id = ${cut}`
    await sql`update rollout_reports set at = at - interval '50 minutes' where edge_id = ${cut}`
    await sql`update route_bins set at = at - interval '50 minutes' where edge_id = ${cut}`
    await pruneBins(sql)
    const more = fine(0, 100, 1900)
    await edges.report(rollout, more, others)
    await letPass(sql, rollout, windowSec)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage', cut: 'half' })
    await edges.follow(others)
    await edges.report(rollout, [...more, ...fine(1, 100, 1900)], others)
    expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage' })

    await sql`update edges set seen_at = now() - interval '2 hours' where id = ${cut}`
    await forgetDeadEdges(sql)
    await pruneBins(sql)
    expect(await sql`select from route_bins where edge_id = ${cut}`).toHaveLength(0)
    expect(await look(rollout)).toMatchObject({ kind: 'advance', next: 25 })
  })

  test('all of them: the weight stays as it is', async () => {
    const { app, rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, counts)
    await sql`update edges set seen_at = now() - interval '1 minute'`
    await sql`update rollout_reports set at = at - interval '1 minute' where rollout_id = ${rollout.id}`
    await letPass(sql, rollout, 10 * windowSec)
    for (let again = 0; again < 3; again += 1)
      expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'coverage' })
    expect((await routeOf(app))?.weight).toBe(5)
  })

  test('one that said goodbye is not waited for', async () => {
    const { rollout } = await begin()
    await step(rollout)
    const [gone = '', ...others] = edges.ids
    await sql`delete from edges where id = ${gone}`
    await edges.report(rollout, fine(0, 100, 1900), others)
    await letPass(sql, rollout, windowSec)
    await sql`update rollouts set ticked_at = clock_timestamp() where id = ${rollout.id}`
    expect(await look(rollout)).toMatchObject({ kind: 'advance', next: 25 })
  })

  test('while nobody leads, the clock stands', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, counts)
    await sql`update rollouts set ticked_at = clock_timestamp() - interval '1 hour' where id = ${rollout.id}`
    expect(await look(rollout)).toMatchObject({ kind: 'observe' })
    expect((await stand(rollout))?.activeSec).toBe(6)
  })
})

test('the clock of a stage loses nothing of the time that looks take', async () => {
  const { rollout } = await begin()
  await step(rollout)
  const [{ epoch = 0 } = {}] = await sql<{ epoch: number }[]>`select epoch from rollout_leader`
  const readAt: string[] = []
  await sql`update rollouts set ticked_at = null where id = ${rollout.id}`
  for (let looks = 0; looks < 4; looks++) {
    await edges.report(rollout, fine(0, 50, 950))
    const [watched] = await readWatched(sql, [rollout.id])
    if (!watched) throw new Error('not open')
    readAt.push(watched.readAt)
    await sql`select pg_sleep(0.05)`
    expect(await tick(watched, { sql, config, log, epoch, traffic: new Map() })).toMatchObject({ kind: 'observe' })
  }
  const [{ passed } = {}] = await sql<{ passed: number }[]>`
    select extract(epoch from ${readAt.at(-1) ?? ''}::text::timestamptz - ${readAt[0] ?? ''}::text::timestamptz)::double precision as passed
  `
  expect((await stand(rollout))?.activeSec).toBeCloseTo(passed ?? 0, 5)
})

describe('a look that finds nothing new writes nothing', () => {
  const rowOf = async ({ id }: Rollout) => (await sql`select xmin, ctid from rollouts where id = ${id}`)[0]

  test('while somebody paused the rollout; its clock goes on where it stood', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, fine(0, 50, 950))
    await look(rollout)
    await sql`update rollouts set state = 'paused', ticked_at = null, revision = revision + 1 where id = ${rollout.id}`
    await look(rollout)
    const { activeSec, row } = { ...(await stand(rollout)), row: await rowOf(rollout) }
    for (let looks = 0; looks < 3; looks++) expect(await look(rollout)).toMatchObject({ kind: 'observe' })
    expect(await rowOf(rollout)).toEqual(row)

    await edges.report(rollout, fine(0, 60, 960))
    await look(rollout)
    expect(await rowOf(rollout)).not.toEqual(row)
    await sql`update rollouts set state = 'observing', revision = revision + 1 where id = ${rollout.id}`
    await look(rollout)
    expect((await stand(rollout))?.activeSec).toBe(activeSec)
    await look(rollout)
    expect((await stand(rollout))?.activeSec).toBeGreaterThan(activeSec ?? 0)
  })

  test('while it is held at 0 %, but for the leader that is new', async () => {
    const { rollout } = await begin({ requests: 0 })
    await look(rollout)
    for (const edgeId of edges.ids)
      await insertProbe(sql, { rolloutId: rollout.id, turn: 0, edgeId, passed: 0, failed: 10, reason: 'status 500' })
    for (let looks = 0; looks < 2; looks++) expect(await look(rollout)).toMatchObject({ kind: 'hold', cause: 'probes' })
    const row = await rowOf(rollout)
    for (let looks = 0; looks < 3; looks++) await look(rollout)
    expect(await rowOf(rollout)).toEqual(row)
    await sql`update rollout_leader set epoch = epoch + 1`
    await look(rollout)
    expect(await rowOf(rollout)).not.toEqual(row)
  })
})

describe('whoever does not lead any more writes nothing', () => {
  test('neither a move nor a look', async () => {
    const { rollout, app } = await begin()
    const [{ epoch = 0 } = {}] = await sql`select epoch from rollout_leader`
    await sql`update rollout_leader set epoch = epoch + 1`
    expect(await look(rollout, epoch)).toMatchObject({ kind: 'advance' })
    expect(await routeOf(app)).toMatchObject({ weight: 0, rollout: null })
    await step(rollout)
    await edges.report(rollout, fine(0, 1, 19, { errorRequests: 1, errorUnits: 1 }))
    const before = await stand(rollout)
    expect(await look(rollout, epoch)).toMatchObject({ kind: 'rollback' })
    expect(await stand(rollout)).toEqual(before)
    expect(await look(rollout)).toMatchObject({ kind: 'rollback' })
    expect(await stand(rollout)).toMatchObject({ state: 'reverting' })
  })

  test('and a verdict on what has changed since it was read is not carried out', async () => {
    const { rollout } = await begin()
    await step(rollout)
    await edges.report(rollout, fine(0, 1, 19, { errorRequests: 1, errorUnits: 1 }))
    const [watched] = await readWatched(sql, [rollout.id])
    const [{ epoch = 0 } = {}] = await sql`select epoch from rollout_leader`
    await sql`update rollouts set revision = revision + 1 where id = ${rollout.id}`
    if (!watched) throw new Error('not open')
    expect(await tick(watched, { sql, config, log, epoch, traffic: new Map() })).toMatchObject({ kind: 'rollback' })
    expect(await stand(rollout)).toMatchObject({ state: 'observing' })
  })
})
