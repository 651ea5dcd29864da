import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('admin')
  app = await plane.app()
})

const add = (host: string, to = app) => plane.ask('POST', `apps/${to}/domains`, { token, json: { host } })
const list = async (query = '') => {
  const { json } = await plane.ask('GET', `apps/${app}/domains${query}`, { token })
  return json as { domains: { host: string; name: string }[]; next: string | null }
}

describe('domains', () => {
  test('are added, listed by page and removed, in one spelling whatever they were written as', async () => {
    expect((await add('Bücher.EXAMPLE.')).json).toMatchObject({ host: 'xn--bcher-kva.example', name: 'bücher.example' })
    expect((await add('www.example.com')).json).toMatchObject({ host: 'www.example.com', name: 'www.example.com' })
    const first = await list('?limit=1')
    expect(first.domains.map(({ host }) => host)).toEqual(['www.example.com'])
    const second = await list(`?limit=1&cursor=${first.next}`)
    expect(second).toMatchObject({ domains: [{ host: 'xn--bcher-kva.example' }], next: null })
    const removed = await plane.ask('DELETE', `apps/${app}/domains/${encodeURIComponent('BÜCHER.example')}`, { token })
    expect(removed.status).toBe(204)
    expect((await list()).domains).toHaveLength(1)
    const gone = await plane.ask('DELETE', `apps/${app}/domains/xn--bcher-kva.example`, { token })
    expect(gone).toMatchObject({ status: 404, json: { error: { code: 'DOMAIN_NOT_FOUND' } } })
  })

  test('D1: belong to one app, in every spelling', async () => {
    const other = await plane.app()
    await add('mine.example')
    for (const host of ['mine.example', 'MINE.example', 'mine.example.', 'ｍｉｎｅ.example', 'mine。example'])
      expect((await add(host, other)).json).toMatchObject({ error: { code: 'NAME_TAKEN' } })
    const stolen = await plane.ask('DELETE', `apps/${other}/domains/mine.example`, { token })
    expect(stolen.json).toMatchObject({ error: { code: 'DOMAIN_NOT_FOUND' } })
  })

  test.each([
    ...[
      'example',
      'localhost',
      'a.localhost',
      'hello.apps.localhost',
      '127.0.0.1',
      '0x7f.1',
      '2130706433',
      '[::1]',
      '1.2.3',
    ],
    ...[
      '*.example.com',
      'a..b',
      '-a.example',
      'a-.example',
      '_acme.example',
      `${'a'.repeat(64)}.example`,
      `${'a.'.repeat(130)}b`,
    ],
    ...[
      'a@b.example',
      'a.example/x',
      'a.example:80',
      'a.example?x',
      'a.example#x',
      'a%2eexample',
      'a b.example',
      '$(id).example',
    ],
    ...[
      '<img onerror=x>.example',
      'xn--a.example',
      'xn--',
      '.',
      '..',
      '.example.com',
      '\u202emoc.example',
      "a'.example",
    ],
  ])('%j is none', async (host) => {
    const { status, json } = await add(host)
    expect({ status, json }).toMatchObject({
      status: 400,
      json: { error: { code: expect.stringMatching(/^(DOMAIN_ILLEGAL|REQUEST_INVALID)$/) } },
    })
  })
})

test('the next build of an app begins afresh when its build caches are cleared, once', async () => {
  await plane.deployed(app, '1.0.0')
  expect((await plane.ask('DELETE', `apps/${app}/build-caches`, { token })).status).toBe(204)
  // Of what was built before there is nothing to build.
  await plane.ask('POST', 'redeploy', { token, json: { app_id: app, follow: false } })
  for (const version of ['2.0.0', '3.0.0']) await plane.deployed(app, version)
  const rows = await plane.sql`select version, options from deployments where app_id = ${app} order by number`
  expect(rows.map(({ options }) => options)).toEqual([{}, {}, { clearCaches: true, forceBuild: true }, {}])
})

test('the page for people shows every route and loads nothing', async () => {
  const { status, headers, text } = await plane.ask('GET', '/docs')
  expect(status).toBe(200)
  expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/)
  const { json } = await plane.ask('GET', '/openapi.json')
  const { paths } = json as { paths: Record<string, object> }
  for (const path of Object.keys(paths)) expect(text).toContain(`<code>${path}</code>`)
  for (const [, target] of text.matchAll(/href="#([^"]+)"/g)) expect(text).toContain(`id="${target}"`)
  expect(text).not.toMatch(/<script|src=|https?:\/\/(?!api\.localhost)[^<]*<\/(script|link)>/)
})
