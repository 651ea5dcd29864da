import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { test } from './support/atelier.ts'

test('a site is pushed with its _headers, _redirects and links, and the push says what it leaves out', async ({
  atelier,
}) => {
  const app = await atelier.createApp('rules')
  const repo = await atelier.clone(app)
  await symlink('v2', join(repo.directory, 'latest'))
  await repo.commit({
    'index.html': 'home',
    'v2/guide.html': 'guide',
    _headers: '/*\n  X-Frame-Options: DENY\n  Content-Length: 3\n',
    _redirects: '/old /new 301\n/us /us.html 302 Country=us\n/docs/* /v2/:splat 200\n/no /none.html 200\n',
  })
  const { remote } = await repo.push()
  const log = remote.join('\n')
  expect(log).toMatch(/-----> Rules {7}1 rule for headers, 2 redirects/)
  expect(log).toContain(
    '_headers line 3 is left out: Content-Length says how the response is sent, which the platform does',
  )
  expect(log).toContain('_redirects line 2 is left out: conditions (Country=us) are not supported')
  expect(log).toContain('_redirects line 4 is left out: there is no file /none.html')

  expect(await atelier.get(app, '/')).toMatchObject({ status: 200, headers: { 'x-frame-options': 'DENY' } })
  expect(await atelier.get(app, '/old')).toMatchObject({ status: 301, headers: { location: '/new' } })
  expect(await atelier.get(app, '/docs/guide')).toMatchObject({ status: 200, body: 'guide' })
  expect(await atelier.get(app, '/latest/guide')).toMatchObject({ status: 200, body: 'guide' })
  for (const path of ['/_headers', '/_redirects']) expect((await atelier.get(app, path)).status).toBe(404)
})

test('hostile rules fail the push in a sentence, and what was live stays live', async ({ atelier }) => {
  const app = await atelier.createApp('rules-hostile')
  const repo = await atelier.clone(app)
  await repo.commit({ 'index.html': 'home' })
  await repo.push()
  await repo.commit({ _redirects: Array.from({ length: 100_000 }, (_, n) => `/${n} /x`).join('\n') })
  const refused = await repo.tryPush()
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toMatch(/_redirects (is larger than 1024 kB|holds more than 10000 rules)/)
  expect(await atelier.get(app, '/')).toMatchObject({ status: 200, body: 'home' })
})

test('a site is live at once, and smaller a moment later; the push that follows has the small forms from the start', async ({
  atelier,
}) => {
  const app = await atelier.createApp('smaller')
  const repo = await atelier.clone(app)
  const text = Array.from({ length: 6000 }, (_, n) => `line ${(n * 31) % 977} about ${(n * n * 31) % 613}\n`).join('')
  await repo.commit({ 'index.html': 'home', 'long.txt': text })
  await repo.push()
  const head = async () => {
    const { headers } = await atelier.get(app, '/long.txt', { method: 'HEAD', headers: { 'accept-encoding': 'br' } })
    expect(headers).toMatchObject({ 'content-encoding': 'br', vary: 'accept-encoding' })
    return { size: Number(headers['content-length']), etag: headers.etag, version: headers['x-atelier-deployment'] }
  }
  const first = await head()
  await expect.poll(async () => (await head()).size).toBeLessThan(first.size)
  const better = await head()
  expect(better.version).toBe(first.version)
  expect(better.etag).not.toBe(first.etag)

  await repo.commit({ 'index.html': 'home again' })
  await repo.push()
  expect(await head()).toMatchObject({ size: better.size, etag: better.etag })
})
