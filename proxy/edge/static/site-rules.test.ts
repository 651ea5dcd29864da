import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RedirectRule } from '../../../registry/site-rules.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'
import { FileTable } from './file-table.ts'
import { HeaderRules } from './header-rules.ts'
import { RedirectRules } from './redirect-rules.ts'

let database: TestDatabase
let edge: TestEdge

const html = { accept: 'text/html' }
const redirect = (line: string): RedirectRule => {
  const [from = '', to = '', status = '302'] = line.split(' ')
  return { from, to, status: Number(status.slice(0, 3)) as RedirectRule['status'], force: status.endsWith('!') }
}
const redirects = [
  '/old /new 301',
  '/about /elsewhere',
  '/forced /index.html 200!',
  '/x/* /:splat',
  '/out/:a/* https://example.com/:a/:splat?a=:a 308',
  '/q /found?b=2 307',
  '/frag /found#part',
  '/self/* /self/:splat',
  '/news/:year/:slug /news/:slug 303',
  '/first/special /one',
  '/first/* /two',
  '/later/* /two',
  '/later/special /one',
  '/hidden/* /404.html 404',
  '/missing-target /none.html 200',
  '/app/* /app/index.html 200',
].map(redirect)

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await edge.deploy('site', {
    kind: 'static',
    redirects,
    header_rules: [
      {
        path: '/*',
        set: [
          ['X-All', 'yes'],
          ['X-Frame-Options', 'DENY'],
        ],
        unset: [],
      },
      {
        path: '/about',
        set: [
          ['Cache-Control', 'public, max-age=60'],
          ['X-All', 'again'],
        ],
        unset: ['x-frame-options'],
      },
      {
        path: '/data/:name',
        set: [
          ['Content-Type', 'text/x-data'],
          ['Vary', 'Origin'],
        ],
        unset: [],
      },
      {
        path: '/cookie.html',
        set: [
          ['Set-Cookie', 'a=1; Path=/'],
          ['Set-Cookie', 'b=2'],
        ],
        unset: [],
      },
      { path: '/app/*', set: [['X-App', '1']], unset: [] },
    ],
    files: {
      'index.html': 'home',
      'about.html': 'about us',
      'forced.html': 'never seen',
      '404.html': 'lost',
      'app/index.html': 'the app',
      'cookie.html': 'crumbs',
      'data/a.txt': 'x'.repeat(500),
    },
  })
  await edge.deploy('server', {
    kind: 'fetch',
    redirects: ['/old /new 301', '/api/v1/* /api/v2/:splat 200', '/page /about.html 200'].map(redirect),
    header_rules: [{ path: '/*', set: [['X-Static', 'yes']], unset: [] }],
    files: { 'about.html': 'about us' },
    server: {
      'index.mjs':
        'export default { fetch: (request) => new Response("app " + new URL(request.url).pathname + new URL(request.url).search) }',
    },
  })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

test.each([
  ['/old', 301, '/new'],
  ['/old/', 301, '/new'],
  ['/old?a=1', 301, '/new?a=1'],
  ['/q?a=1', 307, '/found?b=2'],
  ['/frag?a=1', 302, '/found?a=1#part'],
  ['/x/a/b', 302, '/a/b'],
  ['/x/gr%C3%BC%C3%9Fe%20x', 302, '/gr%C3%BC%C3%9Fe%20x'],
  ['/out/1/b%3Fc', 308, 'https://example.com/1/b%3Fc?a=1'],
  ['/out/a&b/c', 308, 'https://example.com/a&b/c?a=a%26b'],
  ['/news/2024/hello', 303, '/news/hello'],
  ['/first/special', 302, '/one'],
  ['/later/special', 302, '/two'],
  ['/first', 302, '/two'],
])('GET %s is sent on with %i to %s', async (path, status, location) => {
  expect(await edge.ask('site', path, { headers: html })).toMatchObject({ status, headers: { location }, body: '' })
})

test.each([
  ['/x//evil.com', '/evil.com'],
  ['/x///evil.com/a', '/evil.com/a'],
  ['/x/\\evil.com', '/%5Cevil.com'],
  ['/x/\\/evil.com', '/%5C/evil.com'],
  ['/x/%0d%0aset-cookie:a=b', '/%0D%0Aset-cookie:a=b'],
  ['/x/%09/evil.com', '/%09/evil.com'],
  ['/x/@evil.com', '/@evil.com'],
  ['/x/https://evil.com', '/https://evil.com'],
])('E10: what a visitor sends (%s) never chooses the host or ends the header: %s', async (path, location) => {
  const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: site.apps.localhost\r\nConnection: close\r\n\r\n`)
  expect(answer).toContain('HTTP/1.1 302 ')
  expect(answer).toContain(`\r\nlocation: ${location}\r\n`)
  expect(answer).not.toMatch(/^set-cookie/im)
  expect(new URL(location, 'http://site.apps.localhost/').host).toBe('site.apps.localhost')
})

test.each([
  ['/about', 200, 'about us'],
  ['/forced', 200, 'home'],
  ['/forced.html', 200, 'never seen'],
  ['/app/some/page', 200, 'the app'],
  ['/app/v1.2/page', 200, 'the app'],
  ['/app/main.js', 404, 'lost'],
  ['/app/assets/x-BxY12_aZ', 200, 'the app'],
  ['/hidden/page', 404, 'lost'],
  ['/missing-target', 404, 'lost'],
  ['/self/a', 404, 'lost'],
])(
  'GET %s answers %i %s: a file comes before a rule without !, and a page is no script',
  async (path, status, body) => {
    expect(await edge.ask('site', path, { headers: html })).toMatchObject({ status, body })
  },
)

test('redirects hold for every method, rewrites for reading', async () => {
  expect((await edge.ask('site', '/old', { method: 'POST' })).status).toBe(301)
  expect((await edge.ask('site', '/app/x', { method: 'POST' })).status).toBe(405)
})

test('headers go by the path that was asked for, add up, and are taken back with !', async () => {
  const home = await edge.ask('site', '/')
  expect(home.headers).toMatchObject({ 'x-all': 'yes', 'x-frame-options': 'DENY' })
  const about = await edge.ask('site', '/about')
  expect(about.headers).toMatchObject({ 'x-all': 'yes, again', 'cache-control': 'public, max-age=60' })
  expect(about.headers['x-frame-options']).toBeUndefined()
  expect((await edge.ask('site', '/about.html')).headers['x-frame-options']).toBe('DENY')
  const again = await edge.ask('site', '/about', { headers: { 'if-none-match': about.headers.etag ?? '' } })
  expect(again).toMatchObject({
    status: 304,
    headers: { 'cache-control': 'public, max-age=60', 'x-all': 'yes, again' },
  })
  expect((await edge.ask('site', '/app/deep')).headers).toMatchObject({ 'x-app': '1', 'x-all': 'yes' })
  expect((await edge.ask('site', '/nowhere', { headers: html })).headers).toMatchObject({ 'x-all': 'yes' })
})

test('a type of the site replaces ours, what we vary by stays, and cookies keep a page out of shared caches', async () => {
  const data = await edge.ask('site', '/data/a.txt', { headers: { 'accept-encoding': 'br' } })
  expect(data.headers).toMatchObject({
    'content-type': 'text/x-data',
    vary: 'accept-encoding, Origin',
    'content-encoding': 'br',
  })
  const { headers } = await edge.ask('site', '/cookie.html')
  expect(headers['set-cookie']).toEqual(['a=1; Path=/', 'b=2'])
  expect(headers['cache-control']).toMatch(/^private/)
})

test('before an app, redirects and rewrites are followed, and only its files get the headers', async () => {
  expect(await edge.ask('server', '/old')).toMatchObject({ status: 301, headers: { location: '/new' } })
  expect((await edge.ask('server', '/api/v1/users?x=1', { method: 'POST' })).body).toBe('app /api/v2/users?x=1')
  expect(await edge.ask('server', '/page')).toMatchObject({ body: 'about us', headers: { 'x-static': 'yes' } })
  const own = await edge.ask('server', '/other')
  expect(own.body).toBe('app /other')
  expect(own.headers['x-static']).toBeUndefined()
})

test('no path makes a pattern go back and try again: five hundred that nearly fit a long one are told off at once', async () => {
  const patterns = Array.from({ length: 500 }, (_, n) => redirect(`/:a/:b/a/a/a/a*a${n}x /y`))
  const plain = Array.from({ length: 10_000 }, (_, n) => redirect(`/p${n} /x`))
  const rules = new RedirectRules([...plain, ...patterns])
  const hostile = `/${'a/'.repeat(7000)}`
  for (let n = 0; n < 100; n++) expect(rules.find(hostile, hostile, { forced: false })).toBeNull()
})

test('a header whose value is the name of another one costs neither that nor the edge anything', async () => {
  const named = (value: string) => [{ path: '/*', set: [['Content-Type', value] as [string, string]], unset: [] }]
  const live = await edge.deploy('named', {
    kind: 'static',
    header_rules: named('cache-control'),
    files: { 'index.html': 'v1', 'part.html': '0123456789' },
  })
  const files = { 'index.html': 'v2', 'part.html': '0123456789' }
  const next = await edge.prepare('named', { kind: 'static', header_rules: named('content-length'), files })
  const pids = edge.edgePids
  await edge.sql`
    update routes
    set candidate_deployment = ${next.id}, weight = 50, generation = generation + 1
    where live_deployment = ${live.id}
  `
  const seen = new Set<string>()
  await expect
    .poll(async () => {
      const { body, headers } = await edge.ask('named', '/', { headers: html })
      expect(headers).toMatchObject({ 'content-length': '2' })
      if (headers['set-cookie']) seen.add(`${body} ${headers['cache-control']}`)
      return [...seen].sort()
    })
    .toEqual(['v1 private, max-age=0, must-revalidate', 'v2 private, max-age=0, must-revalidate'])
  for (let turn = 0; turn < 10; turn++) {
    const { status, headers } = await edge.ask('named', '/part.html', { headers: { range: 'bytes=2-4' } })
    expect({ status, headers }).toMatchObject({ status: 206, headers: { 'content-length': '3' } })
  }
  expect(edge.edgePids).toEqual(pids)
})

test('a path of thousands of slashes costs no more than another', () => {
  const page = { content_type: 'text/html', sha256: '0'.repeat(64), size: 1, encodings: [] }
  const files = ['404.html', 'a/404.html', 'a/a/index.html'].map((path) => ({ ...page, path }))
  const table = new FileTable(files, { headers: [], rules: new HeaderRules([]) })
  expect(table.notFoundPage('/b')).toBe(table.fileFor('/', '/404.html'))
  expect(table.notFoundPage('/a')).toBe(table.fileFor('/', '/404.html'))
  expect(table.notFoundPage('/a/a/b')).toBe(table.fileFor('/', '/a/404.html'))
  const startedAt = performance.now()
  for (let turn = 0; turn < 100; turn++)
    expect(table.notFoundPage('/b'.repeat(7_000))).toBe(table.fileFor('/', '/404.html'))
  expect(performance.now() - startedAt).toBeLessThan(2_000)
})
