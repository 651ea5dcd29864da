import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { sourceKey } from '../bundle-store/keys.ts'

// A2: what names a stored artifact from outside, and whose it is.
const plane = await startControlPlane()
afterAll(() => plane.close())

const shaOf = (digit: string) => digit.repeat(40)
let mine: { app: string; token: string; deployment: string }
let other: { app: string; token: string; deployment: string }
beforeAll(async () => {
  const owned = async (version: string) => {
    const app = await plane.app()
    await plane.deployed(app, '0.9.0')
    const { id } = await plane.deployed(app, version)
    return { app, token: await plane.token('deploy', app), deployment: id }
  }
  mine = await owned(shaOf('a'))
  other = await owned(shaOf('b'))
})

const post = (path: string, json: unknown) => plane.ask('POST', path, { token: mine.token, json })

describe('A2: a version that is no version', () => {
  test.each([
    '../../b/x',
    `../${shaOf('b')}`,
    `${shaOf('b')}/../${shaOf('b')}`,
    'g'.repeat(40),
    'c'.repeat(39),
    'c'.repeat(41),
    'c'.repeat(63),
    'c'.repeat(65),
    shaOf('A'),
    `${shaOf('a')}%2f`,
    `${shaOf('a')}%00`,
    `${shaOf('a')}\0`,
    `${shaOf('a')}\n`,
    ' ',
    '*',
    '%',
    '_______',
  ])('%j is answered 400 or 404 by every route that takes one, and names no key', async (version) => {
    const before = await plane.store.list(`sources/${mine.app}/`)
    const { app } = mine
    const upload = `deploy?app=${app}&version=${encodeURIComponent(version)}`
    const answers = await Promise.all([
      post('rollback', { app_id: app, version }),
      post('redeploy', { app_id: app, version }),
      post('promote', { app_id: app, to: version }),
      plane.ask('POST', upload, {
        token: mine.token,
        body: gzipSync(Buffer.alloc(1024)),
        headers: { 'content-type': 'application/gzip' },
      }),
      plane.ask('GET', `deployments/${encodeURIComponent(version)}`, { token: mine.token }),
      plane.ask('GET', `deployments/${encodeURIComponent(version)}/logs`, { token: mine.token }),
    ])
    for (const { status } of answers) expect([400, 404]).toContain(status)
    expect(await plane.store.list(`sources/${app}/`)).toEqual(before)
  })
})

describe("A2: another app's artifacts", () => {
  test('are not there for a token of this app, by app, by deployment or by version', async () => {
    const theirs = await Promise.all([
      post('rollback', { app_id: other.app }),
      post('rollback', { app_id: other.app, version: shaOf('b') }),
      post('redeploy', { app_id: other.app, version: shaOf('b') }),
      post('promote', { app_id: other.app, to: shaOf('b') }),
      post(`deployments/${other.deployment}/cancel`, {}),
      plane.ask('GET', `deployments/${other.deployment}`, { token: mine.token }),
      plane.ask('GET', `deployments/${other.deployment}/events`, { token: mine.token }),
      plane.ask('GET', `deployments/${other.deployment}/logs`, { token: mine.token }),
      plane.ask('GET', `deploys?app=${other.app}`, { token: mine.token }),
      plane.ask('GET', `apps/${other.app}/logs`, { token: mine.token }),
      plane.ask('POST', `deploy?app=${other.app}&version=3.0.0`, {
        token: mine.token,
        body: gzipSync(Buffer.alloc(1024)),
        headers: { 'content-type': 'application/gzip' },
      }),
    ])
    expect(theirs.map(({ status }) => status)).toEqual(theirs.map(() => 404))
    expect(await plane.store.list(`sources/${other.app}/`)).toEqual([])
  })

  test("a version of theirs is none of this app's", async () => {
    const { app } = mine
    for (const [route, body] of [
      ['rollback', { app_id: app, version: shaOf('b') }],
      ['redeploy', { app_id: app, version: shaOf('b') }],
      ['promote', { app_id: app, to: shaOf('b') }],
    ] as const)
      expect(await post(route, body)).toMatchObject({ status: 404, json: { error: { code: 'VERSION_NOT_FOUND' } } })
  })

  test('its own are there: the control', async () => {
    expect((await plane.ask('GET', `deployments/${mine.deployment}`, { token: mine.token })).status).toBe(200)
    expect(sourceKey(mine.app, shaOf('a'))).toBe(`sources/${mine.app}/${shaOf('a')}.tar.zst`)
    expect(await post('rollback', { app_id: mine.app, version: '0.9.0' })).toMatchObject({ status: 200 })
  })
})
