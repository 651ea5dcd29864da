import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { startControlPlane } from '../test/support/control-plane.ts'
import { counted, reportOf } from '../test/support/rollout.ts'
import { appendAppLog } from './app-logs.ts'
import { readBuildLog } from './build-logs.ts'
import { renewLease } from './edges.ts'
import { keepReasons, nextStep, readReasons } from './rollback-reasons.ts'
import { openSegment, type Rollout } from './rollout.ts'
import { abortRollout, pauseRollout, promoteRollout } from './rollout-commands.ts'
import { reportRollout } from './rollout-reports.ts'
import { readRolloutsToShow, readRolloutView } from './rollout-view.ts'

const plane = await startControlPlane()
const { sql, config } = plane
afterAll(() => plane.close())

let app: string
let rollout: Rollout
beforeEach(async () => {
  app = await plane.app()
  await plane.deployed(app, '1.0.0')
  rollout = await plane.rollout(app, '1.0.1')
  await renewLease(sql, 'one')
  await renewLease(sql, 'two')
})

const view = async () => {
  const found = await readRolloutView(sql, rollout.id)
  if (!found) throw new Error('no view')
  return found
}

describe('what is seen of a rollout', () => {
  test('adds the edges up, and merges their latencies instead of averaging percentiles', async () => {
    const fast = Array.from({ length: 90 }, () => 10)
    const slow = Array.from({ length: 10 }, () => 1000)
    const half = { requests: 50, errorRequests: 2, timedRequests: 50 }
    await reportRollout(sql, 'one', [
      reportOf(rollout, 1, { segments: [counted(0, 'candidate', half, fast.slice(0, 50))] }),
    ])
    await reportRollout(sql, 'two', [
      reportOf(rollout, 1, {
        bootId: 'b',
        segments: [
          counted(0, 'candidate', half, [...fast.slice(50), ...slow]),
          counted(0, 'baseline', { requests: 900, errorRequests: 1 }),
        ],
      }),
    ])
    const { candidate, baseline, percent } = await view()
    expect({ percent, ...candidate }).toMatchObject({ percent: 5, requests: 100, errors: 4 })
    expect(candidate.p50Ms).toBeCloseTo(10, 0)
    expect(candidate.p95Ms ?? 0).toBeGreaterThan(980)
    expect(baseline).toEqual({ requests: 900, errors: 1, refused: 0, p50Ms: null, p95Ms: null })
  })

  test('is of the stage in force, both halves of it', async () => {
    await reportRollout(sql, 'one', [reportOf(rollout, 1, { segments: [counted(0, 'candidate', { requests: 7 })] })])
    await sql.begin((tx) =>
      openSegment(tx, rollout, { opens: 'half', percent: 5, slowMs: 50, tooSlowMs: 75, by: 'platform' }),
    )
    const segments = [counted(0, 'candidate', { requests: 7 }), counted(1, 'candidate', { requests: 4 })]
    await reportRollout(sql, 'one', [reportOf(rollout, 2, { segments })])
    expect((await view()).candidate.requests).toBe(11)
    await promoteRollout(sql, app, { percent: 25, config, by: 'bea' })
    expect((await view()).candidate.requests).toBe(0)
  })

  test('says that reports were refused', async () => {
    expect((await view()).remarks).toEqual([])
    await sql`update rollouts set refused_reports = 3 where id = ${rollout.id}`
    expect((await view()).remarks).toEqual(['3 reports of edges were not counted, for what they say cannot be'])
    await sql`update rollouts set verdict = ${sql.json({ kind: 'extend', numbers: {}, remarks: ['few'] })}, refused_reports = 1 where id = ${rollout.id}`
    expect((await view()).remarks).toEqual(['few', 'a report of an edge was not counted, for what it says cannot be'])
  })

  test('has the time that is left, while a clock runs', async () => {
    await sql`update rollouts set active_sec = 100, ticked_at = null where id = ${rollout.id}`
    expect(await view()).toMatchObject({ stageLeftSec: 200, leftSec: 200 + 3 * 300 })
    await sql`update rollouts set ticked_at = clock_timestamp() - interval '1 hour' where id = ${rollout.id}`
    expect(await view()).toMatchObject({ stageLeftSec: 200 })
    await sql`update rollouts set active_sec = 310, verdict = ${sql.json({ kind: 'extend', numbers: {}, remarks: [] })} where id = ${rollout.id}`
    expect(await view()).toMatchObject({ stageLeftSec: null, leftSec: null })
    await sql`update rollouts set active_sec = 100, verdict = null where id = ${rollout.id}`
    await pauseRollout(sql, app, { by: 'bea' })
    expect(await view()).toMatchObject({ stageLeftSec: null, leftSec: null })
  })

  test('is the one under way, or one that was taken back, until something else comes out', async () => {
    const shown = async () => (await readRolloutsToShow(sql, [app])).map(({ rollout: { id } }) => id)
    expect(await shown()).toEqual([rollout.id])
    await abortRollout(sql, app, { by: 'bea' })
    await sql`update rollouts set state = 'aborted', ended_at = now() where id = ${rollout.id}`
    expect(await shown()).toEqual([rollout.id])
    const next = await plane.rollout(app, '1.0.2')
    expect(await shown()).toEqual([next.id])
    await sql`update rollouts set state = 'done', ended_at = now() where id = ${next.id}`
    expect(await shown()).toEqual([])
  })
})

describe('why a version was taken back', () => {
  const failing = (status: number, path: string, count: number, arm: 'candidate' | 'baseline' = 'candidate') => ({
    ...{ arm, path, status, count },
  })
  const wrote = (text: string[], deploymentId = rollout.toDeployment) =>
    appendAppLog(
      sql,
      text.map((line) => ({
        ...{ appId: app, deploymentId, version: '1.0.1', at: new Date(), stream: 'stderr' as const, text: line },
      })),
    )

  test('names the five paths that failed most on the new version, over all edges, each counted once', async () => {
    const first = [failing(500, '/cart', 3), failing(500, '/home', 900, 'baseline')]
    const later = [failing(500, '/cart', 5), failing(502, '/cart', 2), failing(500, '/a', 1), failing(500, '/b', 1)]
    const segments = [counted(0, 'candidate', { requests: 9, errorRequests: 9 })]
    await reportRollout(sql, 'one', [reportOf(rollout, 1, { segments, failingPaths: first })])
    await sql.begin((tx) =>
      openSegment(tx, rollout, { opens: 'half', percent: 5, slowMs: null, tooSlowMs: null, by: 'platform' }),
    )
    const both = [...segments, counted(1, 'candidate', { requests: 1, errorRequests: 1 })]
    await reportRollout(sql, 'one', [reportOf(rollout, 2, { segments: both, failingPaths: later })])
    const others = [failing(500, '/cart', 10), failing(500, '/c', 4), failing(500, '/d', 3)]
    await reportRollout(sql, 'two', [reportOf(rollout, 1, { bootId: 'b', segments, failingPaths: others })])
    expect((await readReasons(sql, rollout.id)).failingPaths).toEqual([
      { status: 500, path: '/cart', count: 15 },
      { status: 500, path: '/c', count: 4 },
      { status: 500, path: '/d', count: 3 },
      { status: 502, path: '/cart', count: 2 },
      { status: 500, path: '/a', count: 1 },
    ])
  })

  test('is kept with the traces and the commits, and written to the log once, so that nothing that is pruned is missed', async () => {
    await wrote(['Error: of the old one', '    at old (/app/old.js:1:1)'], rollout.fromDeployment)
    await wrote(['TypeError: cart is not a function', '    at total (/app/cart.js:12:7)'])
    const commits = [{ sha: 'c'.repeat(40), subject: 'Add the cart' }]
    await sql`update deployments set commits = ${sql.json(commits)} where id = ${rollout.toDeployment}`
    await abortRollout(sql, app, { by: 'bea' })
    await keepReasons(sql, rollout)
    await sql`delete from app_log_lines`
    await keepReasons(sql, rollout)
    expect((await view()).reasons).toEqual({
      failingPaths: [],
      stackTraces: ['TypeError: cart is not a function\n    at total (/app/cart.js:12:7)'],
      commits,
    })
    const lines = (await readBuildLog(sql, rollout.toDeployment)).map(({ text }) => text)
    expect(lines.slice(-4)).toEqual([
      '       it wrote  TypeError: cart is not a function',
      '                     at total (/app/cart.js:12:7)',
      '       commits   ccccccc Add the cart',
      '       next      mend it and push: git push atelier main; the same again: atelier redeploy 1.0.1',
    ])
  })

  test('ends with what to type', () => {
    const next = { branch: 'main', number: 3 }
    expect(nextStep({ ...next, version: 'a'.repeat(40) })).toContain('atelier redeploy aaaaaaa')
    expect(nextStep({ ...next, version: '20260328-153042' })).toContain('atelier redeploy v3')
  })

  test('is nothing when nothing is known', async () => {
    expect(await readReasons(sql, rollout.id)).toEqual({ failingPaths: [], stackTraces: [], commits: [] })
    expect((await view()).reasons).toBeNull()
  })
})
