import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { ensureAdminToken, newSecret } from '../tokens.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

const host = 'console.localhost:8080'
const origin = `http://${host}`
const same = { origin, 'content-type': 'application/json' }

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('admin')
  app = await plane.app()
})

async function newCode(secret = token): Promise<string> {
  const { json } = await plane.ask('POST', 'console-links', { token: secret })
  return new URL((json as { url: string }).url).hash.replace('#token=', '')
}

const signIn = (code: string, headers: Record<string, string> = same) =>
  plane.ask('POST', '/session', { host, headers, body: Buffer.from(JSON.stringify({ code })) })

async function session(secret = token): Promise<string> {
  const answer = await signIn(await newCode(secret))
  return String(answer.headers['set-cookie']).split(';')[0] ?? ''
}

const read = (path: string, cookie: string, headers: Record<string, string> = {}) =>
  plane.ask('GET', path, { host, headers: { cookie, ...headers } })

describe('signing in', () => {
  test('a link signs one browser in, once', async () => {
    const code = await newCode()
    const answer = await signIn(code)
    expect(answer.status).toBe(204)
    expect(String(answer.headers['set-cookie'])).toMatch(
      /^atelier_console_8080=[\w-]{43}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Lax$/,
    )
    expect(await signIn(code)).toMatchObject({ status: 401, json: { error: { code: 'UNAUTHENTICATED' } } })
  })

  test('two browsers with one link: one gets in', async () => {
    const code = await newCode()
    const answers = await Promise.all(Array.from({ length: 8 }, () => signIn(code)))
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1)
  })

  test('an old link does not work', async () => {
    const code = await newCode()
    await plane.sql`update console_codes set expires_at = now() - interval '1 second'`
    expect((await signIn(code)).status).toBe(401)
  })

  test.each(['', 'x', 'A'.repeat(43), '<script>', "' or 1=1 --"])('the code %j does not', async (code) => {
    expect([400, 401]).toContain((await signIn(code)).status)
  })

  test('bodies that are no sign-in are refused', async () => {
    for (const body of ['', 'null', '{"code":1}', '{"code":{"$ne":1}}', `{"code":"${'a'.repeat(5000)}"}`]) {
      const answer = await plane.ask('POST', '/session', { host, headers: same, body: Buffer.from(body) })
      expect([400, 413]).toContain(answer.status)
    }
  })
})

describe('a session', () => {
  test('reads the API with the rights of the token it came from, and no more', async () => {
    expect(await read('status', await session())).toMatchObject({ status: 200, json: { apps: expect.any(Array) } })
    const limited = await session(await plane.token('read', app))
    const other = await plane.app()
    expect((await read(`status?app=${other}`, limited)).status).toBe(404)
    expect((await read('tokens', limited)).status).toBe(403)
  })

  test.each(['', 'atelier_console_8080=', `atelier_console_8080=${'A'.repeat(43)}`])('%j is none', async (cookie) => {
    expect((await read('status', cookie)).status).toBe(401)
  })

  test("a bearer token is not taken at the console's address, nor a cookie at the API's", async () => {
    expect((await plane.ask('GET', 'whoami', { host, token })).status).toBe(401)
    expect((await plane.ask('GET', 'whoami', { headers: { cookie: await session() } })).status).toBe(401)
  })

  test('ends by signing out', async () => {
    const cookie = await session()
    const out = await plane.ask('DELETE', '/session', { host, headers: { cookie, origin } })
    expect(out.status).toBe(204)
    expect((await read('whoami', cookie)).status).toBe(401)
  })

  test('ends when its token is deleted or gets another secret', async () => {
    const secret = await plane.token('deploy')
    const cookie = await session(secret)
    await plane.sql`delete from tokens where name = 'deploy-all'`
    expect((await read('whoami', cookie)).status).toBe(401)

    const admin = newSecret()
    await ensureAdminToken(plane.sql, admin)
    const ofAdmin = await session(admin)
    expect((await read('whoami', ofAdmin)).status).toBe(200)
    await ensureAdminToken(plane.sql, newSecret())
    expect((await read('whoami', ofAdmin)).status).toBe(401)
  })
})

describe('requests another site makes a browser send', () => {
  test.each([
    ['another origin', { origin: 'http://evil.example' }],
    ["an app's origin", { origin: 'http://hello.apps.localhost:8080' }],
    ["the API's origin", { origin: 'http://api.localhost:8080' }],
    ['another port', { origin: 'http://console.localhost:9000' }],
    ['no origin', {}],
    ['a null origin', { origin: 'null' }],
  ])('%s changes nothing', async (_, headers) => {
    const cookie = await session()
    const create = { host, headers: { cookie, 'content-type': 'application/json', ...headers } }
    const body = Buffer.from('{"name":"forged"}')
    expect(await plane.ask('POST', 'apps', { ...create, body })).toMatchObject({
      status: 403,
      json: { error: { code: 'ORIGIN_FOREIGN' } },
    })
    expect((await plane.ask('DELETE', '/session', { host, headers: { cookie, ...headers } })).status).toBe(403)
    expect((await signIn(await newCode(), { 'content-type': 'application/json', ...headers })).status).toBe(403)
  })
})

test.each(['/', '/console.js', '/dom.js', '/rollouts.js', '/console.css', '/nothing', '/api/platform/status'])(
  '%s is framed by nobody, sniffed by nobody and runs nothing inline',
  async (path) => {
    const { headers, text } = await plane.ask('GET', path, { host })
    const policy = String(headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe')
    expect(headers['x-content-type-options']).toBe('nosniff')
    if (path === '/') expect(text).not.toMatch(/<script(?![^>]*src=)|style=|onclick|javascript:/)
  },
)
