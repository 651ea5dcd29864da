import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventsOf, startControlPlane } from '../../test/support/control-plane.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('deploy')
})
beforeEach(async () => {
  app = await plane.app()
  await plane.deployed(app, '1.0.0')
})

const post = (path: string, json: object = {}) => plane.ask('POST', path, { token, json: { app_id: app, ...json } })
const promote = async (to: unknown) => {
  const answer = await post('promote', { to })
  return answer.status === 200 ? eventsOf(answer.text).at(-1) : answer
}

describe('a rollout under way', () => {
  beforeEach(() => plane.rollout(app, '1.0.1'))

  test('is paused, resumed and aborted', async () => {
    const deployment = { version: '1.0.1', state: 'canary' }
    expect(await post('pause', { reason: 'sale' })).toMatchObject({
      json: { deployment, state: 'paused', percent: 5 },
    })
    expect(await post('resume')).toMatchObject({ json: { deployment, state: 'observing', percent: 5 } })
    expect(await post('abort')).toMatchObject({
      json: { deployment: { state: 'rolled_back', state_reason: 'taken back at 5 % by deploy-all' }, percent: 0 },
    })
    expect(await post('abort')).toMatchObject({ status: 409, json: { error: { code: 'NO_ROLLOUT' } } })
  })

  test.each([25, '25', '25%', '25 %'])('is promoted to %j, a share of the traffic', async (to) => {
    expect(await promote(to)).toMatchObject({
      type: 'end',
      ok: true,
      deployment: { version: '1.0.1', state: 'canary' },
    })
    const [route] = await plane.sql`select weight from routes where app_id = ${app}`
    expect(route).toMatchObject({ weight: 25 })
  })

  test.each([100, '100', '1.0.1', 'v2'])('is live after promoting to %j', async (to) => {
    expect(await promote(to)).toMatchObject({ ok: true, deployment: { version: '1.0.1', state: 'live' } })
  })

  test.each([0, -5, 101, 5.5, '5.5%', '0 %', '999'])('is not promoted to %j', async (to) => {
    expect(await promote(to)).toMatchObject({
      status: 400,
      json: { error: { code: expect.stringMatching(/^(REQUEST_INVALID|VERSION_ILLEGAL)$/) } },
    })
    const [route] = await plane.sql`select weight from routes where app_id = ${app}`
    expect(route).toMatchObject({ weight: 5 })
  })

  test.each([
    ['a reason of two lines', { reason: 'a\nb' }],
    ['one that is too long', { reason: 'x'.repeat(501) }],
    ['one that is no text', { reason: { $ne: 1 } }],
    ['a field nobody knows', { force: true }],
  ])('%s is refused, by its name', async (_, body) => {
    for (const path of ['pause', 'resume', 'abort'])
      expect(await post(path, body)).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  })
})

describe('what is seen of it', () => {
  const seen = async () =>
    ((await plane.ask('GET', `apps/${app}/rollout`, { token })).json as { rollout: unknown }).rollout

  test('is the rollout under way, also in the status of the app, and nothing when there is none', async () => {
    expect(await seen()).toBeNull()
    await plane.rollout(app, '1.0.1')
    const rollout = {
      ...{
        app_id: app,
        state: 'observing',
        percent: 5,
        stages: [5, 25, 50, 100],
        window_sec: 300,
        stage_left_sec: 300,
      },
      ...{ from: { version: '1.0.0' }, to: { version: '1.0.1' }, candidate: { requests: 0, error_rate: null } },
      ...{ evidence: { errors: null, latency: null }, why: null, history: [] },
    }
    expect(await seen()).toMatchObject(rollout)
    const { json } = await plane.ask('GET', `status?app=${app}`, { token })
    expect(json).toMatchObject({ apps: [{ rollout, locks: [] }] })
  })

  test('is followed from change to change, and ends with the verdict', async () => {
    const { id } = await plane.rollout(app, '1.0.1')
    const following = plane.ask('GET', `apps/${app}/rollout?follow=true`, { token })
    await post('pause')
    await post('abort')
    await plane.sql`update rollouts set state = 'aborted', ended_at = clock_timestamp() where id = ${id}`
    const events = eventsOf((await following).text)
    expect(events.at(-1)).toMatchObject({ type: 'end', ok: false, deployment: { state: 'rolled_back' } })
    expect(events.at(-2)).toMatchObject({ type: 'rollout', rollout: { state: 'aborted', percent: 0, why: {} } })
  })

  test('is in the events of its deployment, with who and why, among its moves', async () => {
    const { toDeployment } = await plane.rollout(app, '1.0.1')
    await post('pause', { reason: 'sale' })
    await post('abort')
    const { json } = await plane.ask('GET', `deployments/${toDeployment}/events`, { token })
    expect((json as { events: object[] }).events.slice(-4)).toMatchObject([
      { from: 'uploading', to: 'canary', rollout: null },
      { rollout: 'paused', from: null, to: null, by: 'deploy-all', reason: 'paused at 5 % by deploy-all: sale' },
      { from: 'canary', to: 'rolled_back', rollout: null },
      { rollout: 'reverting', by: 'deploy-all' },
    ])
  })

  test('holds a lock, and the hold after a version was taken back', async () => {
    await plane.rollout(app, '1.0.1')
    await post('abort')
    await post('lock', { message: 'migrating' })
    const { json } = await plane.ask('GET', `status?app=${app}`, { token })
    expect(json).toMatchObject({ apps: [{ locks: [{ kind: 'lock', message: 'migrating' }, { kind: 'hold' }] }] })
  })
})

test('an order names its version, and changes nothing when another one is under way', async () => {
  await plane.rollout(app, '1.0.1')
  await plane.rollout(app, '1.0.2')
  const [route] = await plane.sql`select * from routes where app_id = ${app}`
  const refused = { status: 409, json: { error: { code: 'ROLLOUT_OTHER' } } }
  for (const what of ['pause', 'resume', 'abort']) expect(await post(what, { of: 'v2' })).toMatchObject(refused)
  for (const to of [50, 100]) expect(await post('promote', { to, of: '1.0.1' })).toMatchObject(refused)
  expect(await post('promote', { to: 'v3', of: 'v2' })).toMatchObject({ status: 400 })
  expect(await plane.sql`select * from routes where app_id = ${app}`).toEqual([route])
  expect(await post('abort', { of: 'v3' })).toMatchObject({ status: 200 })
})

test('without a rollout there is no share to give', async () => {
  expect(await promote(25)).toMatchObject({ status: 409, json: { error: { code: 'NO_ROLLOUT' } } })
})

test('a version may take all traffic at once when somebody says so', async () => {
  await post('redeploy', { follow: false, canary: 'skip' })
  const [row] = await plane.sql`select options from deployments where app_id = ${app} order by number desc limit 1`
  expect(row).toEqual({ options: { canary: 'skip' } })
  expect(await post('redeploy', { follow: false, canary: 'no' })).toMatchObject({ status: 400 })
})

test('a version under way is not cancelled but aborted, and nothing older is deployed over it unawares', async () => {
  const { toDeployment } = await plane.rollout(app, '1.0.1')
  for (const answer of [await post(`deployments/${toDeployment}/cancel`), await post('redeploy')])
    expect(answer).toMatchObject({
      status: 409,
      json: { error: { message: expect.stringContaining('atelier abort') } },
    })
})

describe('a lock', () => {
  test('holds redeploys, uploads and promotions, and says who, why and since when', async () => {
    await plane.deployed(app, '1.0.1')
    expect(await post('lock', { message: 'migrating' })).toMatchObject({ json: { kind: 'lock', by: 'deploy-all' } })
    for (const answer of [
      await post('redeploy', { follow: false }),
      await post('redeploy', { follow: false, build: true }),
      await post('promote', { to: '1.0.0' }),
    ]) {
      const message = `${app} is locked by deploy-all (migrating); to lift it: atelier unlock`
      expect(answer).toMatchObject({ status: 423, json: { error: { code: 'APP_LOCKED', message } } })
    }
    expect(await post('rollback')).toMatchObject({ status: 200 })
    expect(await post('unlock')).toMatchObject({ json: { lifted: [{ kind: 'lock' }, { kind: 'hold' }] } })
    expect(await post('redeploy', { follow: false })).toMatchObject({ status: 202 })
    expect(await post('unlock')).toMatchObject({ json: { lifted: [] } })
  })

  test('has a reason', async () => {
    for (const json of [{}, { message: '' }, { message: 'a\u001b[2Jb' }])
      expect(await post('lock', json)).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  })
})
