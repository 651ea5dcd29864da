import { readFile, writeFile } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blobKey } from '../../../registry/bundle-store/keys.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'

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
      'shop/404.html': 'not in this shop',
      'shop/shoes/index.html': 'shoes',
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
  '/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  '/%252e%252e/etc/passwd',
  '/docs/..%5c..%5cabout.html',
  '/docs/%2e%2e/about.html',
  '/./about.html',
  '/%00',
  '/.git/HEAD',
  '/docs/.env',
  '/.well-known/../.env',
])('A4, E10: GET %s is a 404, and never a redirect', async (path) => {
  const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: site.apps.localhost\r\nConnection: close\r\n\r\n`)
  expect(answer.split('\r\n')[0]).toBe('HTTP/1.1 404 Not Found')
  expect(answer).not.toContain('SECRET')
  expect(answer).not.toContain('root:')
})

test('a missing page is told of by the 404.html of the nearest folder', async () => {
  for (const [path, body] of [
    ['/shop/hats', 'not in this shop'],
    ['/shop/shoes/red/42', 'not in this shop'],
    ['/shops', 'lost'],
  ] as const) {
    expect(await edge.ask('site', path, { headers: html })).toMatchObject({ status: 404, body })
  }
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

  describe('encodings', () => {
    const path = '/assets/index-BxY12_aZ.js'
    const get = (accept?: string, headers = {}) =>
      edge.ask('site', path, { headers: { ...(accept !== undefined && { 'accept-encoding': accept }), ...headers } })

    test('each is a representation with an ETag of its own, and right bytes', async () => {
      const forms = await Promise.all(['', 'br', 'zstd', 'gzip'].map((coding) => get(coding)))
      const decode = [String, brotliDecompressSync, zstdDecompressSync, gunzipSync] as const
      for (const [index, { headers, bytes }] of forms.entries()) {
        expect(headers['content-encoding']).toBe([undefined, 'br', 'zstd', 'gzip'][index])
        expect(headers).toMatchObject({ vary: 'accept-encoding', 'content-length': String(bytes.length) })
        expect(decode[index]?.(bytes).toString()).toBe(script)
      }
      expect(new Set(forms.map(({ headers }) => headers.etag)).size).toBe(4)
    })

    test.each([
      ['gzip;q=0.9, br;q=0.2', 'gzip'],
      ['br;q=0, *', /zstd|gzip/],
      ['*;q=0', undefined],
      ['identity, gzip;q=0.5', undefined],
      ['gzip;q=0.5, identity;q=0', 'gzip'],
      ['gzip;q=0', undefined],
      ['deflate', undefined],
    ])('Accept-Encoding: %s gets %s', async (accept, coding) => {
      const { status, headers } = await get(accept)
      expect(status).toBe(200)
      if (coding === undefined) expect(headers['content-encoding']).toBeUndefined()
      else expect(headers['content-encoding']).toMatch(coding)
    })

    test('304 is for the form that the client would get, and says what a 200 says to caches', async () => {
      const packed = await get('gzip')
      const etag = packed.headers.etag ?? ''
      const again = await get('gzip', { 'if-none-match': etag })
      expect(again).toMatchObject({ status: 304, body: '' })
      for (const name of ['etag', 'vary', 'cache-control', 'x-atelier-deployment'])
        expect(again.headers[name]).toBe(packed.headers[name])
      for (const name of ['content-encoding', 'content-length', 'content-type'])
        expect(again.headers[name]).toBeUndefined()
      expect((await get('', { 'if-none-match': etag })).status).toBe(200)
    })

    test('HEAD tells of the form that GET sends', async () => {
      const got = await get('br')
      const head = await edge.ask('site', path, { method: 'HEAD', headers: { 'accept-encoding': 'br' } })
      expect({ ...head.headers, date: '' }).toEqual({ ...got.headers, date: '' })
    })

    test('a range is of the plain file, and of a compressed one only for a client that has a part of that', async () => {
      const packed = await get('gzip')
      const part = await get('gzip', { range: 'bytes=0-9' })
      expect(part).toMatchObject({ status: 206, body: script.slice(0, 10) })
      expect(part.headers['content-encoding']).toBeUndefined()
      const rest = await get('gzip', { range: 'bytes=10-', 'if-range': packed.headers.etag ?? '' })
      expect(rest).toMatchObject({ status: 206, headers: { 'content-encoding': 'gzip', etag: packed.headers.etag } })
      expect(gunzipSync(Buffer.concat([packed.bytes.subarray(0, 10), rest.bytes])).toString()).toBe(script)
    })
  })

  test('If-Match of another version is 412', async () => {
    const { headers } = await edge.ask('site', '/numbers.txt')
    for (const [tag, status] of [
      [headers.etag, 200],
      ['*', 200],
      ['"other"', 412],
      [`W/${headers.etag}`, 412],
    ] as const)
      expect((await edge.ask('site', '/numbers.txt', { headers: { 'if-match': tag ?? '' } })).status).toBe(status)
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
    for (const condition of ['"other"', 'Wed, 21 Oct 2015 07:28:00 GMT', 'Wed, 21 Oct 2099 07:28:00 GMT']) {
      const headers = { range: 'bytes=2-4', 'if-range': condition }
      expect(await edge.ask('site', '/numbers.txt', { headers })).toMatchObject({ status: 200, body: '0123456789' })
    }
    const { headers } = await edge.ask('site', '/numbers.txt')
    const same = { range: 'bytes=2-4', 'if-range': headers.etag ?? '' }
    expect(await edge.ask('site', '/numbers.txt', { headers: same })).toMatchObject({ status: 206, body: '234' })
  })

  test('HEAD has no ranges', async () => {
    const answer = await edge.ask('site', '/numbers.txt', { method: 'HEAD', headers: { range: 'bytes=2-4' } })
    expect(answer).toMatchObject({ status: 200, headers: { 'content-length': '10' } })
  })

  test.runIf(process.platform === 'linux')(
    'A6: a thousand ranges, overlapping ones too, cost one whole file, and no memory',
    async () => {
      const thousand = `bytes=${Array.from({ length: 1000 }, (_, index) => `${index}-`).join(',')}`
      const before = await memoryOf(edge.edgePids)
      for (let round = 0; round < 20; round++) {
        for (const range of [thousand, `bytes=${'0-,'.repeat(2000)}0-`, 'bytes=0-1499999,0-1499999,0-1499999']) {
          const answer = await edge.ask('site', '/big.bin', { headers: { range } })
          expect(answer.status).toBe(200)
          expect(answer.bytes.equals(big)).toBe(true)
        }
      }
      // One answer of a thousand parts would hold 1.5 GB.
      expect((await memoryOf(edge.edgePids)) - before).toBeLessThan(200 * 1_048_576)
    },
  )
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

async function memoryOf(pids: number[]): Promise<number> {
  const statuses = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/status`, 'utf8')))
  return statuses.reduce((sum, status) => sum + Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024, 0)
}

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
