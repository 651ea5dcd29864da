import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { bring, liveApp, rolloutOf } from '../test/support/rollout.ts'
import { renewLease } from './edges.ts'
import { insertProbe, wantedProbes } from './rollout-probes.ts'

const database = await createDatabase()
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())
beforeAll(() => Promise.all([renewLease(sql, 'edge-1'), renewLease(sql, 'edge-2')]))

test('each edge is asked for a turn of probes once, and only what was asked for is taken', async () => {
  const { app } = await liveApp(sql)
  const candidate = await bring(sql, app)
  const { id } = await rolloutOf(sql, candidate)
  const probe = { rolloutId: id, turn: 0, edgeId: 'edge-1', passed: 10, failed: 0, reason: null }
  expect(await wantedProbes(sql, 'edge-1')).toEqual([])
  expect(await insertProbe(sql, probe)).toBe(false)

  await sql`update rollouts set probe_turn = 0 where id = ${id}`
  const wanted = { rolloutId: id, turn: 0, appId: app, label: app, deploymentId: candidate.id }
  expect(await wantedProbes(sql, 'edge-1')).toEqual([wanted])
  expect(await insertProbe(sql, probe)).toBe(true)
  expect([await wantedProbes(sql, 'edge-1'), await wantedProbes(sql, 'edge-2')]).toEqual([[], [wanted]])

  for (const bad of [{ turn: 1 }, { edgeId: 'stranger' }, { passed: -1 }, { failed: 0.5 }, { rolloutId: 'x' }, {}])
    expect(await insertProbe(sql, { ...probe, ...bad })).toBe(false)
})
