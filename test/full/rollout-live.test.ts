import { expect } from 'vitest'
import type { Sql } from '../../registry/sql.ts'
import type { ApartPlatform } from '../support/apart.ts'
import { type Atelier, testApart } from '../support/atelier.ts'
import type { CanarySettings, Temper } from '../support/canary-app.ts'
import { openApp, pushNext, type SeenRollout, untilEnded, untilRollout, type Visited } from '../support/live-rollout.ts'

// Many rollouts of real apps through three proxies, those of several apps at a time.

const test = testApart.extend('sql', { scope: 'file' }, async ({ atelier }, { onCleanup }): Promise<Sql> => {
  const sql = await atelier.platform.openDatabase()
  onCleanup(() => sql.end())
  return sql
})
test.override('apartOptions', { proxies: 3, env: { ATELIER_EDGES: '2' } })

test('of fifty versions that fail 5 % where the old one fails 0.1 %, 85 % are taken back within 168 of their requests', async ({
  atelier,
  sql,
}) => {
  const rollouts = await rollOut(atelier, sql, {
    apps: 5,
    each: 10,
    perSecond: 80,
    canary: { observationWindowSec: 600 },
    old: { failing: 0.001 },
    next: { failing: 0.05 },
    settle: async (app, version) => {
      const { name } = app
      const settled = await untilRollout(
        sql,
        version,
        ({ state, candidate }) => state === 'aborted' || (candidate?.requests ?? 0) > 168,
      )
      if (settled.state !== 'aborted') {
        await atelier.api('POST', 'abort', { app_id: name })
        await untilEnded(sql, version)
      }
      return settled
    },
  })
  const inTime = rollouts.filter(({ state, candidate }) => state === 'aborted' && (candidate?.requests ?? 1e9) <= 168)
  expect(rollouts.map(({ sentence }) => sentence)).toHaveLength(50)
  expect(inTime.length).toBeGreaterThanOrEqual(0.85 * rollouts.length)
})

test('of a hundred versions that are as good as the old one at most three are taken back', async ({ atelier, sql }) => {
  const canary = { stages: [10, 50, 100], observationWindowSec: 3, autoRollback: { minRequests: 20 } }
  const temper = { failing: 0.02, medianMs: 5 }
  const rollouts = await rollOut(atelier, sql, {
    apps: 5,
    each: 20,
    perSecond: 40,
    canary,
    old: temper,
    next: temper,
    settle: (_, version) => untilEnded(sql, version),
  })
  expect(rollouts).toHaveLength(100)
  const back = rollouts.filter(({ state }) => state !== 'done')
  expect(back.length, back.map(({ sentence }) => sentence).join('\n')).toBeLessThanOrEqual(3)
})

type Plan = {
  /** At a time. */
  apps: number
  /** Rollouts of each app, one after the other. */
  each: number
  perSecond: number
  canary: CanarySettings
  old: Temper
  next: Temper
  settle: (app: Visited, version: string) => Promise<SeenRollout>
}

async function rollOut(
  atelier: Atelier<ApartPlatform>,
  sql: Sql,
  { apps, each, perSecond, canary, old, next, settle }: Plan,
): Promise<SeenRollout[]> {
  const lanes = Array.from({ length: apps }, async (_, index) => {
    const app = await openApp(atelier, sql, { temper: old, canary, perSecond })
    await using _visitors = app.visitors
    const settled: SeenRollout[] = []
    for (let turn = 0; turn < each; turn++)
      settled.push(await settle(app, await pushNext(app, next, `${index} ${turn}`)))
    return settled
  })
  return (await Promise.all(lanes)).flat()
}
