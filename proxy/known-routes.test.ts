import { expect, test } from 'vitest'
import { lockWithRoute } from '../registry/live.ts'
import { endRollout } from '../registry/rollout.ts'
import { completeRollout } from '../registry/rollout-ends.ts'
import { type Route, readRoutes } from '../registry/routes.ts'
import { createDatabase } from '../test/support/database.ts'
import { bring, config, liveApp, rolloutOf } from '../test/support/rollout.ts'
import { edgeRoute, KnownRoutes } from './known-routes.ts'

const route = (given: Partial<Route>): Route => ({
  ...{ id: 'r1', appId: 'hello', environment: 'production', branch: 'main', label: 'hello', generation: 1, weight: 0 },
  ...{ live: null, candidate: null, warm: null, rollout: null },
  ...given,
})

test('a generation only goes up', () => {
  const routes = new KnownRoutes()
  const fifth = route({ generation: 5 })
  expect(routes.replace([fifth])).toEqual({ changed: [fifth], gone: [] })
  expect(routes.replace([route({ generation: 4 })])).toBeNull()
  expect(routes.all()).toEqual([fifth])
  const sixth = route({ generation: 6 })
  expect(routes.replace([sixth])).toEqual({ changed: [sixth], gone: [] })
  expect(routes.all()).toEqual([sixth])
})

test('of many routes only what is different is told', () => {
  const routes = new KnownRoutes()
  const many = Array.from({ length: 1000 }, (_, index) => route({ id: `r${index}`, label: `app-${index}` }))
  routes.replace(many)
  const flipped = route({ id: 'r500', label: 'app-500', generation: 2 })
  expect(routes.replace(many.with(500, flipped).slice(1))).toEqual({ changed: [flipped], gone: ['r0'] })
})

test('a route that is gone is gone, and one made anew under its name begins anew', () => {
  const routes = new KnownRoutes()
  routes.replace([route({ generation: 5 })])
  expect(routes.replace([])).toEqual({ changed: [], gone: ['r1'] })
  routes.replace([route({ generation: 5 })])
  const anew = route({ id: 'r2', generation: 0 })
  expect(routes.replace([anew])).toEqual({ changed: [anew], gone: ['r1'] })
})

test('of a rollout that is done nothing is kept: neither the old version, nor what to count', async () => {
  await using database = await createDatabase()
  const { sql } = database
  const { app, live } = await liveApp(sql)
  const candidate = await bring(sql, app)
  const rollout = await rolloutOf(sql, candidate)
  const complete = { config, by: 'platform', slowMs: null, tooSlowMs: null }
  await sql.begin(async (tx) => {
    await lockWithRoute(tx, candidate.id)
    await completeRollout(tx, rollout, complete)
  })
  const routes = new KnownRoutes()
  routes.replace(await readRoutes(sql))
  expect(routes.all()).toMatchObject([{ warm: { id: live.id }, rollout: { id: rollout.id } }])

  await sql.begin(async (tx) => {
    await lockWithRoute(tx, candidate.id)
    await endRollout(tx, rollout, { state: 'done', sentence: 'done', by: 'platform' })
  })
  expect(routes.replace(await readRoutes(sql))).toMatchObject({ changed: [{ warm: null, rollout: null }] })
  expect(routes.all()).toMatchObject([{ live: { id: candidate.id }, warm: null, rollout: null }])
})

test("an app's environment does not go to edge processes, sealed or not", () => {
  const routed = { id: 'd1', version: '1.0.0', number: 1, manifestKey: 'm', manifestSha256: 'x' }
  const sealed = { SECRET: { value: 'sealed', runtime_only: true } }
  const { warm: _, ...known } = route({})
  const told = edgeRoute(
    route({
      live: { ...routed, envSnapshot: sealed },
      candidate: { ...routed, envSnapshot: sealed },
      warm: { ...routed, envSnapshot: sealed },
    }),
  )
  expect(told).toEqual({ ...known, live: routed, candidate: routed })
})
