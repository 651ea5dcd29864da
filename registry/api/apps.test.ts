import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventsOf, startControlPlane } from '../../test/support/control-plane.ts'
import { appendAppLog } from '../app-logs.ts'
import { reportHosts } from '../edge-hosts.ts'
import { renewLease } from '../edges.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('admin')
})
beforeEach(async () => {
  app = await plane.app()
})

const ask = (method: string, path: string, json?: unknown, secret = token) =>
  plane.ask(method, path, { token: secret, json })

describe('apps', () => {
  test('are created, shown, listed and deleted', async () => {
    const name = `shop-${app}`
    const url = `http://${name}.apps.localhost:8080`
    const shown = { id: name, url, git_url: `http://git.localhost:8080/${name}.git`, created_by: 'admin-all' }
    expect(await ask('POST', 'apps', { name })).toMatchObject({ status: 200, json: shown })
    expect(await ask('GET', `apps/${name}`)).toMatchObject({ status: 200, json: shown })
    expect((await ask('GET', 'apps')).text).toContain(name)
    expect((await ask('DELETE', `apps/${name}`)).status).toBe(204)
    expect((await ask('GET', `apps/${name}`)).status).toBe(404)
  })

  test.each([
    ['Hello', 'APP_NAME_ILLEGAL'],
    ['1app', 'APP_NAME_ILLEGAL'],
    ['x-pr-1', 'APP_NAME_ILLEGAL'],
    ['a-git-b', 'APP_NAME_ILLEGAL'],
    ['a'.repeat(39), 'APP_NAME_ILLEGAL'],
    ['a'.repeat(80), 'APP_NAME_ILLEGAL'],
    ['', 'APP_NAME_ILLEGAL'],
  ])('the name %j is refused with %s', async (name, code) => {
    expect(await ask('POST', 'apps', { name })).toMatchObject({ status: 400, json: { error: { code } } })
  })

  test('a taken name is refused, also to whom the app is hidden', async () => {
    expect(await ask('POST', 'apps', { name: app })).toMatchObject({
      status: 409,
      json: { error: { code: 'NAME_TAKEN' } },
    })
  })

  test('a token of one app lists that one', async () => {
    const mine = await plane.token('read', app)
    expect(await ask('GET', 'apps', undefined, mine)).toMatchObject({ json: { apps: [{ id: app }] } })
    expect(await ask('GET', 'status', undefined, mine)).toMatchObject({ json: { apps: [{ app_id: app }] } })
  })
})

describe('variables', () => {
  const names = async (environment = 'production') => {
    const { json } = await ask('GET', `apps/${app}/env?environment=${environment}`)
    return (json as { variables: { name: string }[] }).variables.map(({ name }) => name)
  }

  test('are set and removed by environment, and their values never come back', async () => {
    const secret = 'canary-value-7261'
    const set = await ask('PUT', `apps/${app}/env`, { values: { KEY: secret, PEM: 'a\nb\n' }, runtime_only: true })
    expect(set).toMatchObject({
      status: 200,
      json: { variables: [{ name: 'KEY', runtime_only: true }, { name: 'PEM' }] },
    })
    await ask('PUT', `apps/${app}/env`, { values: { KEY: 'p' }, environment: 'preview' })
    expect([await names(), await names('preview')]).toEqual([['KEY', 'PEM'], ['KEY']])
    expect(set.text + (await ask('GET', `apps/${app}/env`)).text).not.toContain(secret)
    const [row] = await plane.sql`select value from env_vars where app_id = ${app} and name = 'KEY' limit 1`
    expect(String(row?.value)).not.toContain(secret)
    expect(await ask('DELETE', `apps/${app}/env?names=KEY,NOPE`)).toMatchObject({ json: { removed: ['KEY'] } })
    expect([await names(), await names('preview')]).toEqual([['PEM'], ['KEY']])
  })

  test('of production are not by branch', async () => {
    const wrong = { values: { A: '1' }, environment: 'production', branch: 'feature' }
    expect(await ask('PUT', `apps/${app}/env`, wrong)).toMatchObject({ json: { error: { code: 'REQUEST_INVALID' } } })
    expect(await ask('PUT', `apps/${app}/env`, { values: { A: '1' }, branch: 'feature' })).toMatchObject({
      json: { variables: [{ name: 'A', branch: 'feature', value: null }], changed: ['A'], stale: [] },
    })
    expect(await names()).toEqual([])
  })

  test.each([
    ['a name the platform sets', { PORT: '1' }, 'ENV_NAME_ILLEGAL'],
    ['a name of the platform', { ATELIER_TOKEN: 'x' }, 'ENV_NAME_ILLEGAL'],
    ['a value that is too large', { BIG: 'x'.repeat(70_000) }, 'ENV_TOO_LARGE'],
    ['a NUL', { NUL: 'a\0b' }, 'REQUEST_INVALID'],
    ['too many', Object.fromEntries(Array.from({ length: 201 }, (_, index) => [`V${index}`, '1'])), 'ENV_TOO_LARGE'],
  ])('%s is refused, and with it all of the request', async (_, values, code) => {
    const answer = await ask('PUT', `apps/${app}/env`, { values: { GOOD: '1', ...values } })
    expect(answer).toMatchObject({ json: { error: { code } } })
    expect(await names()).toEqual([])
  })
})

describe('tokens', () => {
  test('are made with a secret that is shown once, and end when deleted', async () => {
    const made = await ask('POST', 'tokens', { name: 'ci', scope: 'deploy', app_id: app, expires_in_days: 30 })
    const { id, secret } = made.json as { id: string; secret: string }
    expect(made.headers['cache-control']).toBe('no-store')
    expect(await ask('GET', 'whoami', undefined, secret)).toMatchObject({
      json: { name: 'ci', scope: 'deploy', app_id: app },
    })
    const list = await ask('GET', 'tokens')
    expect(list.text).toContain(id)
    expect(list.text).not.toContain(secret)
    expect((await ask('DELETE', `tokens/${id}`)).status).toBe(204)
    expect((await ask('GET', 'whoami', undefined, secret)).status).toBe(401)
    expect(await ask('DELETE', `tokens/${id}`)).toMatchObject({
      status: 404,
      json: { error: { code: 'TOKEN_NOT_FOUND' } },
    })
  })

  test("the platform's own is not deleted", async () => {
    expect((await ask('DELETE', 'tokens/admin')).status).toBe(400)
  })

  test('cannot be for an app that is not there', async () => {
    expect((await ask('POST', 'tokens', { name: 'ci', app_id: 'nosuchapp' })).status).toBe(404)
  })
})

test('the status names what is live where, what is on its way, and how many edges serve', async () => {
  await renewLease(plane.sql, 'edge-1')
  const live = await plane.deployed(app, '1.0.0')
  const preview = await plane.deployed(app, '2.0.0', 'pr/1')
  const asleep = { state: 'asleep' as const, isolates: 0 }
  await reportHosts(plane.sql, 'edge-1', { changed: [{ deploymentId: live.id, ...asleep }], gone: [] })
  expect(await ask('GET', `status?app=${app}`)).toMatchObject({
    status: 200,
    json: {
      platform: { edges: 1 },
      apps: [
        {
          environment: 'production',
          url: `http://${app}.apps.localhost:8080`,
          live: { id: live.id, host: { ...asleep, edges: 1 } },
        },
        { environment: 'preview', branch: 'pr/1', live: { host: null }, latest: { id: preview.id } },
      ],
    },
  })
})

test("an app's log is read and followed, with the version that wrote each line", async () => {
  const line = (text: string) => ({
    appId: app,
    deploymentId: 'd',
    version: '1.0.0',
    at: new Date(),
    stream: 'stdout' as const,
    text,
  })
  await appendAppLog(plane.sql, [line('one'), line('two')])
  const read = eventsOf((await ask('GET', `apps/${app}/logs?tail=1`)).text)
  expect(read).toEqual([expect.objectContaining({ text: 'two', version: '1.0.0', stream: 'stdout' })])

  const leaving = new AbortController()
  const following = await plane.stream('GET', `apps/${app}/logs?follow=true`, { token, signal: leaving.signal })
  const seen: string[] = []
  for await (const chunk of following) {
    seen.push(...eventsOf(String(chunk)).map(({ text }) => String(text)))
    if (seen.length === 2) await appendAppLog(plane.sql, [line('three')])
    if (seen.includes('three')) break
  }
  leaving.abort()
  expect(seen).toEqual(['one', 'two', 'three'])
})
