import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { listApps } from '../apps.ts'
import { listTokens } from '../tokens.ts'

// C4, C10, I7: what no honest client sends. Every answer is a refusal with a code, or the text comes back as the text it is.
const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('admin')
  app = await plane.app()
  await plane.deployed(app, '1.0.0')
})

const ask = (method: string, path: string, json: unknown) => plane.ask(method, path, { token, json })
const raw = (path: string, body: string, headers: Record<string, string> = {}) =>
  plane.ask('POST', path, {
    token,
    body: Buffer.from(body),
    headers: { 'content-type': 'application/json', ...headers },
  })

describe('I7, C10: bodies', () => {
  test.each([
    ['an array', '[]'],
    ['a string', '"app"'],
    ['null', 'null'],
    ['a number', '1'],
    ['nothing', ''],
    ['half an object', '{"name":"a'],
    ['two objects', '{"name":"a"}{"name":"b"}'],
    ['a wrong type', '{"name":{"toString":"x"}}'],
    ['an unknown field', '{"name":"mass","created_by":"me","uid":0}'],
    ['__proto__', '{"name":"proto","__proto__":{"admin":true}}'],
    ['a nested __proto__', '{"name":"proto","x":{"__proto__":{"admin":true}}}'],
    ['constructor.prototype', '{"name":"proto","constructor":{"prototype":{"admin":true}}}'],
    ['bytes that are not UTF-8', '{"name":"\xff\xfe"}'],
    ['deeply nested arrays', `{"name":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
  ])('%s is refused', async (_, body) => {
    const before = await listApps(plane.sql)
    expect(await raw('apps', body)).toMatchObject({ status: 400, json: { error: { code: expect.any(String) } } })
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
    expect(await listApps(plane.sql)).toEqual(before)
  })

  test('one that is too large is refused, announced or not', async () => {
    const large = `{"name":"${'a'.repeat(100_000)}"}`
    expect(await raw('apps', large)).toMatchObject({ status: 413, json: { error: { code: 'REQUEST_TOO_LARGE' } } })
    const chunked = await plane.ask('POST', 'apps', {
      token,
      body: Readable.from(Array.from({ length: 200 }, () => 'a'.repeat(1000))),
      headers: { 'content-type': 'application/json' },
    })
    expect(chunked.status).toBe(413)
  })

  test('one that is not announced as JSON is refused: a form of another site cannot be sent', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/jsonx',
    ])
      expect((await raw('apps', '{"name":"form"}', { 'content-type': type })).status).toBe(400)
    expect(
      (await raw('apps', '{"name":"json-ok"}', { 'content-type': 'application/json; charset=utf-8' })).status,
    ).toBe(200)
  })

  test('one that is cut off harms nobody', async () => {
    const half = connect(plane.socketPath)
    half.write(
      `POST /api/platform/apps HTTP/1.1\r\nhost: api.localhost\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"na`,
    )
    half.end()
    await text(half)
    expect((await plane.ask('GET', 'whoami', { token })).status).toBe(200)
  })
})

const nasty = [
  'a\nb',
  'a\r\nx-injected: 1',
  'a\0b',
  '\u001b[2J',
  '\u009b31m',
  'a\u2028b',
  'a\u202eb',
  '$(touch /tmp/canary)',
  '`id`',
  "'; drop table apps; --",
  '; rm -rf /',
  '../../etc/passwd',
  '%2e%2e%2f',
  '<img src=x onerror=alert(1)>',
  '--upload-pack=x',
  '__proto__',
  'constructor',
  'é'.repeat(100),
  ' ',
  '',
]

describe.each(nasty.map((text) => [JSON.stringify(text), text]))('the text %s', (_, text) => {
  test.each<[string, () => ReturnType<typeof ask>]>([
    ['as a new app', () => ask('POST', 'apps', { name: text })],
    ['as a version to roll back to', () => ask('POST', 'rollback', { app_id: app, version: text })],
    ['as what to promote', () => ask('POST', 'promote', { app_id: app, to: text })],
    ['as an app to roll back', () => ask('POST', 'rollback', { app_id: text })],
    ['as a branch', () => ask('POST', 'redeploy', { app_id: app, branch: text })],
    ['as a variable name', () => ask('PUT', `apps/${app}/env`, { values: { [text]: 'x' } })],
    ['as an app in the path', () => ask('GET', `apps/${encodeURIComponent(text)}/env`, undefined)],
    ['as a deployment', () => ask('GET', `deployments/${encodeURIComponent(text)}`, undefined)],
    ['as an app to deploy', () => ask('POST', `deploy?app=${encodeURIComponent(text)}`, undefined)],
    ['as a scope', () => ask('POST', 'tokens', { name: 'ci', scope: text })],
    ['as an app of a token', () => ask('POST', 'tokens', { name: 'ci', app_id: text })],
    ['as an environment', () => ask('GET', `apps/${app}/env?environment=${encodeURIComponent(text)}`, undefined)],
    ['as a number of lines', () => ask('GET', `deploys?limit=${encodeURIComponent(text)}x`, undefined)],
  ])('%s is refused', async (_where, asking) => {
    const answer = await asking()
    const isLegal = answer.status === 200 && /^[A-Za-z_]+$/.test(text)
    if (!isLegal) expect([400, 404]).toContain(answer.status)
    expect(answer.text).not.toContain('INTERNAL')
  })

  test('as a name of a token it is refused or kept as it is', async () => {
    const answer = await ask('POST', 'tokens', { name: text, scope: 'read' })
    if (answer.status === 200) {
      expect((await listTokens(plane.sql)).map(({ name }) => name)).toContain(text)
      expect(text).not.toMatch(/\p{Cc}|\u2028/u)
    } else expect(answer).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  })
})

test('a parameter given twice is refused, not guessed', async () => {
  const twice = await plane.ask('GET', `deploys?app=${app}&app=other`, { token })
  expect(twice).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  expect((await plane.ask('GET', `deploys?nonsense=1`, { token })).status).toBe(400)
})

test('every problem of a request is named with its path', async () => {
  const { json } = await ask('POST', 'tokens', { name: '', scope: 'root', expires_in_days: -1 })
  const { message } = (json as { error: { message: string } }).error
  for (const path of ['body.name', 'body.scope', 'body.expires_in_days']) expect(message).toContain(path)
})

test('a fault of the platform keeps its details to the log', async () => {
  await plane.sql`alter table env_vars rename to env_vars_gone`
  const answer = await ask('GET', `apps/${app}/env`, undefined)
  await plane.sql`alter table env_vars_gone rename to env_vars`
  expect(answer).toMatchObject({ status: 500, json: { error: { code: 'INTERNAL' } } })
  expect(answer.text).not.toContain('env_vars')
})
