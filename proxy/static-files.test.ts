import { writeFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blobKey } from '../registry/bundle-store/keys.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

const script = `console.log(${JSON.stringify('x'.repeat(500))})`
const big = Buffer.from(Array.from({ length: 1_500_000 }, (_, index) => index % 251))
const html = { accept: 'text/html,application/xhtml+xml' }

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await edge.deploy('site', {
    kind: 'static',
    files: {
      'index.html': 'home',
      'about.html': 'about us',
      'docs/index.html': 'docs',
      'docs/a b.html': 'spaced',
      '404.html': 'lost',
      'empty.txt': '',
      'numbers.txt': '0123456789',
      'big.bin': big,
      'assets/index-BxY12_aZ.js': script,
      '.env': 'SECRET=1',
      '.git/config': 'secret',
      '.well-known/security.txt': 'Contact: us',
      'è/ü.txt': 'umlaut',
    },
  })
  await edge.deploy('spa', {
    kind: 'static',
    spa_fallback: true,
    files: { 'index.html': 'the shell', 'assets/index-BxY12_aZ.js': script },
  })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

test.each([
  ['/', 200, 'home'],
  ['/?utm=1', 200, 'home'],
  ['/index.html', 200, 'home'],
  ['/about', 200, 'about us'],
  ['/about.html', 200, 'about us'],
  ['/docs/', 200, 'docs'],
  ['/docs/a%20b', 200, 'spaced'],
  ['/empty.txt', 200, ''],
  ['/.well-known/security.txt', 200, 'Contact: us'],
  ['/%C3%A8/%c3%bc.txt', 200, 'umlaut'],
])('GET %s answers %i with the right file', async (path, status, body) => {
  expect(await edge.ask('site', path)).toMatchObject({ status, body })
})

test.each([
  ['/docs', '/docs/'],
  ['/docs?page=2', '/docs/?page=2'],
  ['/about/', '/about'],
  ['/docs/a%20b/', '/docs/a%20b'],
])('GET %s is redirected to %s on the same host', async (path, location) => {
  const answer = await edge.ask('site', path)
  expect(answer).toMatchObject({
    status: 308,
    headers: { location, 'cache-control': 'public, max-age=0, must-revalidate' },
  })
})

test.each([
  '/missing',
  '/..%2f..%2fetc/passwd',
  '/%2e%2e/%2e%2e/etc/passwd',
  '/../../../../etc/passwd',
  '/docs/../about.html',
  '/..\\..\\etc\\passwd',
  '/about.html%00.txt',
  '//etc/passwd',
  '//evil.com',
  '//evil.com/..',
  '/.env',
  '/%2eenv',
  '/.git/config',
  '/docs%2findex.html',
  '/%',
  '/%ff%fe',
  '/about.html/',
  '/__proto__',
  '/constructor',
])('GET %s is a 404, and never a redirect', async (path) => {
  const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: site.apps.localhost\r\nConnection: close\r\n\r\n`)
  expect(answer.split('\r\n')[0]).toBe('HTTP/1.1 404 Not Found')
  expect(answer).not.toContain('SECRET')
  expect(answer).not.toContain('root:')
})

test('people see the 404 page of the site, machines a code', async () => {
  expect(await edge.ask('site', '/missing', { headers: html })).toMatchObject({ status: 404, body: 'lost' })
  const machine = await edge.ask('site', '/missing')
  expect(JSON.parse(machine.body)).toMatchObject({ error: { code: 'PAGE_NOT_FOUND' } })
})

test('HEAD answers what GET would, without a body', async () => {
  const got = await edge.ask('site', '/numbers.txt')
  const head = await edge.ask('site', '/numbers.txt', { method: 'HEAD' })
  expect(head).toMatchObject({ status: 200, body: '' })
  expect({ ...head.headers, date: '' }).toEqual({ ...got.headers, date: '' })
  expect(head.headers['content-length']).toBe('10')
})

test('a site answers GET and HEAD only', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    expect(await edge.ask('site', '/', { method })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } })
  }
})

describe('validators and caching', () => {
  test('the ETag is strong, and a client that has the file gets 304', async () => {
    const { headers } = await edge.ask('site', '/numbers.txt')
    expect(headers.etag).toMatch(/^"[0-9a-f]{64}"$/)
    for (const tag of [headers.etag, `W/${headers.etag}`, `"other", ${headers.etag}`, '*']) {
      const again = await edge.ask('site', '/numbers.txt', { headers: { 'if-none-match': tag ?? '' } })
      expect(again).toMatchObject({ status: 304, body: '', headers: { etag: headers.etag } })
    }
    const other = await edge.ask('site', '/numbers.txt', { headers: { 'if-none-match': '"other"' } })
    expect(other.status).toBe(200)
  })

  test('only a name with a content hash is cached for ever', async () => {
    const { headers } = await edge.ask('site', '/assets/index-BxY12_aZ.js')
    expect(headers['cache-control']).toBe('public, max-age=31536000, immutable')
    for (const path of ['/', '/numbers.txt', '/about']) {
      const answer = await edge.ask('site', path)
      expect(answer.headers['cache-control']).toBe('public, max-age=0, must-revalidate')
    }
  })

  test('a compressed sibling is a representation of its own', async () => {
    const path = '/assets/index-BxY12_aZ.js'
    const plain = await edge.ask('site', path)
    const packed = await edge.ask('site', path, { headers: { 'accept-encoding': 'gzip, br' } })
    expect(plain).toMatchObject({ body: script, headers: { vary: 'accept-encoding' } })
    expect(packed.headers).toMatchObject({ 'content-encoding': 'gzip', vary: 'accept-encoding' })
    expect(gunzipSync(packed.bytes).toString()).toBe(script)
    expect(packed.headers.etag).not.toBe(plain.headers.etag)
    const refused = await edge.ask('site', path, { headers: { 'accept-encoding': 'gzip;q=0' } })
    expect(refused.headers['content-encoding']).toBeUndefined()
  })
})

describe('ranges', () => {
  test.each([
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=8-', 206, '89', 'bytes 8-9/10'],
    ['bytes=0-1,3-4', 200, '0123456789', undefined],
    ['bytes=10-', 416, '', 'bytes */10'],
  ])('%s answers %i', async (range, status, body, contentRange) => {
    const answer = await edge.ask('site', '/numbers.txt', { headers: { range } })
    expect(answer).toMatchObject({ status, body })
    expect(answer.headers['content-range']).toBe(contentRange)
  })

  test('a range of a large file comes from disk', async () => {
    const answer = await edge.ask('site', '/big.bin', { headers: { range: 'bytes=1000000-1000099' } })
    expect(answer).toMatchObject({ status: 206, headers: { 'content-length': '100' } })
    expect(answer.bytes).toEqual(big.subarray(1_000_000, 1_000_100))
    expect((await edge.ask('site', '/big.bin')).bytes).toEqual(big)
  })

  test('If-Range with another version gets the whole file', async () => {
    const headers = { range: 'bytes=2-4', 'if-range': '"other"' }
    expect(await edge.ask('site', '/numbers.txt', { headers })).toMatchObject({ status: 200, body: '0123456789' })
  })
})

describe('a single-page app', () => {
  test('answers navigations to unknown paths with its shell', async () => {
    for (const path of ['/users/42', '/settings', '/v1.2/notes', '/release/1.0']) {
      expect(await edge.ask('spa', path, { headers: html })).toMatchObject({ status: 200, body: 'the shell' })
    }
  })

  test('never answers a missing asset with its shell', async () => {
    for (const path of ['/assets/index-OLDHASH1.js', '/assets/old', '/logo.png', '/main.js', '/data.json']) {
      expect((await edge.ask('spa', path, { headers: html })).status).toBe(404)
    }
    expect((await edge.ask('spa', '/users/42', { headers: { accept: 'application/json' } })).status).toBe(404)
    expect((await edge.ask('spa', '/users/42', { method: 'POST', headers: html })).status).toBe(405)
  })
})

test('bytes that do not match their digest are not served', async () => {
  await edge.deploy('torn', { kind: 'static', files: { 'index.html': 'right', 'other.html': 'fine' } })
  const { createHash } = await import('node:crypto')
  const path = edge.store.localPath(blobKey(createHash('sha256').update('right').digest('hex')))
  await writeFile(path ?? '', 'wrong')
  const answer = await edge.ask('torn', '/')
  expect(answer.status).toBe(500)
  expect(answer.body).not.toContain('wrong')
  expect(await edge.ask('torn', '/other')).toMatchObject({ status: 200, body: 'fine' })
})
