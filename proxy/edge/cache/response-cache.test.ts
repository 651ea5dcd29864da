import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cacheable, type Wish, wish } from '../../../test/support/cacheable.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { type Asked, TestEdge } from '../../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge
let paths = 0

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { env: { ATELIER_CACHE_MB: '4', ATELIER_CACHE_ENTRY_MB: '1' } })
  await edge.deploy('cached', cacheable())
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

/** An address of its own, with what is asked of the app there. */
const at = (wished: Wish) => {
  const path = `/p${++paths}`
  const target = wish(path, wished)
  return {
    path,
    target,
    ask: async (asked?: Asked) => {
      const { status, headers, body } = await edge.ask('cached', target, asked)
      return { status, headers, body, word: headers['x-atelier-cache'] }
    },
    asked: async () => (await seen()).asked[path] ?? 0,
    last: async () => (await seen()).last[path] ?? {},
  }
}
type Seen = { asked: Record<string, number>; last: Record<string, Record<string, string>> }
const seen = async (): Promise<Seen> => JSON.parse((await edge.ask('cached', '/asked')).body)
const control = (text: string) => ({ 'cache-control': text })
const release = () => edge.ask('cached', '/release')
const failing = (isFailing: boolean) => edge.ask('cached', `/fail?${isFailing ? 'on' : 'off'}`)

describe('what is kept', () => {
  test('an answer for everybody is asked of the app once, and has an Age', async () => {
    const place = at({ headers: control('s-maxage=60') })
    expect(await place.ask()).toMatchObject({ word: 'miss', body: '1' })
    const again = await place.ask()
    expect(again).toMatchObject({ word: 'hit', body: '1', status: 200 })
    expect(Number(again.headers.age)).toBeLessThan(30)
    expect(again.headers['x-atelier-deployment']).toMatch(/^1\.0\./)
    expect(await place.asked()).toBe(1)
  })

  test('early hints are for the client whose request the app got, and are not kept with the answer', async () => {
    const place = at({ headers: control('s-maxage=1, stale-while-revalidate=60'), hint: '</a.css>; rel=preload' })
    const get = (path: string) =>
      edge.raw(`GET ${path} HTTP/1.1\r\nHost: cached.apps.localhost\r\nConnection: close\r\n\r\n`)
    expect(await get(place.target)).toMatch(
      /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>[\s\S]*x-atelier-cache: miss/i,
    )
    expect(await get(place.target)).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*x-atelier-cache: (?:hit|stale)/i)
    await expect.poll(() => get(place.target)).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*x-atelier-cache: stale/i)
    await expect
      .poll(() => get(place.target))
      .toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*x-atelier-cache: hit[\s\S]*\r\n\r\n[2-9]/i)
  })

  test.each([
    ['says nothing', {}],
    ['is for one browser', { headers: control('max-age=60') }],
    ['is private', { headers: control('private, s-maxage=60') }],
    ['may not be stored', { headers: control('no-store, s-maxage=60') }],
    ['sets a cookie', { headers: { ...control('public, s-maxage=60'), 'set-cookie': 'id=1' } }],
    [
      'sets a cookie for all apps',
      { headers: { ...control('s-maxage=60'), 'set-cookie': 'id=1; Domain=apps.localhost' } },
    ],
    ['varies by everything', { headers: { ...control('s-maxage=60'), vary: '*' } }],
    ['varies by cookie', { headers: { ...control('s-maxage=60'), vary: 'Cookie' } }],
    ['has no body', { headers: control('public, s-maxage=60'), status: 204, body: '' }],
    [
      'is part of a body',
      { headers: { ...control('s-maxage=60'), 'content-range': 'bytes 0-0/2' }, status: 206, body: 'x' },
    ],
    ['leads elsewhere for now', { headers: { ...control('s-maxage=60'), location: '/' }, status: 302 }],
    ['is an event stream', { headers: { ...control('s-maxage=60'), 'content-type': 'text/event-stream' } }],
  ] satisfies [string, Wish][])('A5: an answer that %s is not kept', async (_, wished) => {
    const place = at(wished)
    await place.ask()
    expect((await place.ask()).word).toMatch(/^(bypass|miss)$/)
    expect(await place.asked()).toBeGreaterThanOrEqual(2)
  })

  test.each([200, 301, 308, 404, 410])('a %d that says so is kept', async (status) => {
    const place = at({ headers: control('public, max-age=60'), status })
    await place.ask()
    expect(await place.ask()).toMatchObject({ word: 'hit', status })
  })

  test('a request with another method reaches the app, and its answer is not kept', async () => {
    const place = at({ headers: control('s-maxage=60') })
    expect(await place.ask({ method: 'POST', body: 'x' })).toMatchObject({ word: 'bypass', body: '1' })
    expect(await place.ask()).toMatchObject({ word: 'miss', body: '2' })
    expect(await place.ask({ method: 'DELETE' })).toMatchObject({ word: 'bypass', body: '3' })
  })

  test('the query as it was sent is part of the address', async () => {
    const [one, two] = [
      wish('/q', { headers: control('s-maxage=60'), body: 'one' }),
      wish('/q', { headers: control('s-maxage=60'), body: 'two' }),
    ]
    for (const target of [one, two, one]) await edge.ask('cached', target)
    expect((await edge.ask('cached', one)).body).toBe('one')
    expect((await edge.ask('cached', two)).body).toBe('two')
  })

  test('clients are told what is for them alone of Cache-Control', async () => {
    const place = at({ headers: control('public, s-maxage=60, stale-while-revalidate=31535940') })
    const told = { 'cache-control': 'public, max-age=0, must-revalidate' }
    expect((await place.ask()).headers).toMatchObject(told)
    expect((await place.ask()).headers).toMatchObject(told)
  })

  test('answers for several languages are kept side by side, and not without end', async () => {
    const place = at({ headers: { ...control('s-maxage=60'), vary: 'Accept-Language' } })
    const inLanguage = (language: string) => place.ask({ headers: { 'accept-language': language } })
    expect(await inLanguage('de')).toMatchObject({ word: 'miss', body: '1' })
    expect(await inLanguage('fr')).toMatchObject({ word: 'miss', body: '2' })
    expect(await inLanguage('de')).toMatchObject({ word: 'hit', body: '1' })
    for (let index = 0; index < 20; index++) await inLanguage(`x-${index}`)
    expect(await inLanguage('x-19')).toMatchObject({ word: 'hit' })
    expect(await inLanguage('de')).toMatchObject({ word: 'miss' })
  })

  test('HEAD is answered from what GET has brought', async () => {
    const place = at({ headers: control('s-maxage=60'), body: 'x'.repeat(50) })
    expect(await place.ask({ method: 'HEAD' })).toMatchObject({ word: 'miss', body: '' })
    await place.ask()
    const head = await place.ask({ method: 'HEAD' })
    expect(head).toMatchObject({ word: 'hit', body: '', status: 200 })
    expect(head.headers['content-length']).toBe('50')
  })

  test('over a kept-alive connection each hit is whole, of its own form, and as old as it is', async () => {
    const headers = { ...control('s-maxage=60'), 'content-type': 'text/html', etag: '"v1"' }
    const { target } = at({ headers, body: 'a line of text\n', times: 200 })
    const plain = 'a line of text\n'.repeat(200)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ask = async (asked: Record<string, string> = {}, method = 'GET') => {
      const request = httpRequest({
        ...{ host: '127.0.0.1', port: edge.port, agent, path: target, method },
        headers: { host: edge.hostOf('cached'), ...asked },
      }).end()
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      return { response, bytes: await buffer(response) }
    }
    await ask()
    await expect
      .poll(async () => (await ask({ 'accept-encoding': 'gzip' })).response.headers['content-encoding'])
      .toBe('gzip')
    const ages = new Set<number>()
    for (const startedAt = performance.now(); performance.now() - startedAt < 2_500; ) {
      const [get, zipped, head, held] = [
        await ask(),
        await ask({ 'accept-encoding': 'gzip' }),
        await ask({}, 'HEAD'),
        await ask({ 'if-none-match': '"v1"' }),
      ]
      expect(get.bytes.toString()).toBe(plain)
      expect(gunzipSync(zipped.bytes).toString()).toBe(plain)
      expect([head.bytes.length, head.response.headers['content-length']]).toEqual([0, String(plain.length)])
      expect(held.response.statusCode).toBe(304)
      for (const { response } of [get, zipped, head]) {
        expect(response.headers).toMatchObject({ 'x-atelier-cache': 'hit', connection: 'keep-alive' })
        ages.add(Number(response.headers.age))
      }
    }
    agent.destroy()
    expect(ages.size).toBeGreaterThan(1)
  })

  test('conditional requests and ranges are answered from what is kept', async () => {
    const date = 'Thu, 01 Jan 2026 00:00:00 GMT'
    const place = at({
      headers: { ...control('s-maxage=60'), etag: '"v1"', 'last-modified': date },
      body: '0123456789',
    })
    await place.ask()
    const [byTag, byDate, other] = [
      await place.ask({ headers: { 'if-none-match': 'W/"v1", "v0"' } }),
      await place.ask({ headers: { 'if-modified-since': date } }),
      await place.ask({ headers: { 'if-none-match': '"v0"', 'if-modified-since': date } }),
    ]
    expect(byTag).toMatchObject({ status: 304, word: 'hit', body: '' })
    expect(byTag.headers).toMatchObject({ etag: '"v1"' })
    expect(byDate.status).toBe(304)
    expect(other).toMatchObject({ status: 200, body: '0123456789' })
    const part = await place.ask({ headers: { range: 'bytes=2-4' } })
    expect(part).toMatchObject({ status: 206, body: '234' })
    expect(part.headers).toMatchObject({ 'content-range': 'bytes 2-4/10', 'content-length': '3' })
    expect((await place.ask({ headers: { range: 'bytes=10-' } })).status).toBe(416)
    const head = await place.ask({ method: 'HEAD', headers: { range: 'bytes=2-4' } })
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': '10' } })
    expect(await place.ask({ headers: { range: 'bytes=2-4', 'if-range': '"v0"' } })).toMatchObject({ status: 200 })
    expect(await place.asked()).toBe(1)
  })
})

describe('A5: who asks leaves no trace in what everybody gets', () => {
  test('A5: a path that looks like a file is as personal as its answer says', async () => {
    for (const path of ['/account/x.css', '/account;.js', '/account/%2e%2e/y.png', '/account%0Ax.js']) {
      const target = wish(path, { headers: control('private') })
      await edge.ask('cached', target, { headers: { cookie: 'session=1' } })
      expect((await edge.ask('cached', target)).headers['x-atelier-cache']).toBe('bypass')
    }
  })

  test('A5: a request with Authorization is neither answered from the cache nor kept', async () => {
    const place = at({ headers: control('public, s-maxage=60') })
    const authorization = 'Bearer secret'
    expect(await place.ask({ headers: { authorization } })).toMatchObject({ word: 'bypass', body: '1' })
    expect(await place.ask()).toMatchObject({ word: 'miss', body: '2' })
    expect(await place.ask({ headers: { authorization } })).toMatchObject({ word: 'bypass', body: '3' })
    expect(await place.ask()).toMatchObject({ word: 'hit', body: '2' })
  })

  test('A5: who looks at drafts of Next.js gets no page from the cache, and leaves none there', async () => {
    const place = at({ headers: control('s-maxage=60') })
    const cookie = 'a=1; __prerender_bypass=0123'
    expect(await place.ask({ headers: { cookie } })).toMatchObject({ word: 'bypass', body: '1' })
    expect(await place.ask()).toMatchObject({ word: 'miss', body: '2' })
    expect(await place.ask({ headers: { cookie } })).toMatchObject({ word: 'bypass', body: '3' })
    expect(await place.ask({ headers: { cookie: 'a=1' } })).toMatchObject({ word: 'hit', body: '2' })
  })

  test('A5: a page of Next.js and the payload its router asks for at the same address are kept apart', async () => {
    const vary = 'rsc, next-router-state-tree, next-router-prefetch, next-router-segment-prefetch'
    const place = at({ headers: { ...control('s-maxage=60'), vary } })
    const router = { rsc: '1', 'next-router-state-tree': '%5B%22%22%5D' }
    const prefetch = { ...router, 'next-router-prefetch': '1' }
    const kept = async (headers: Record<string, string>) => {
      await expect.poll(() => place.ask({ headers })).toMatchObject({ word: 'hit' })
      return (await place.ask({ headers })).body
    }
    const bodies = [await kept({}), await kept(router), await kept(prefetch)]
    expect(new Set(bodies).size).toBe(3)
    expect(await place.last()).toMatchObject(prefetch)
    for (const [at, headers] of [{}, router, prefetch].entries())
      expect(await place.ask({ headers })).toMatchObject({ word: 'hit', body: bodies[at] })
  })

  test('A5: what is kept was asked for without the cookie of whoever came first', async () => {
    const place = at({ headers: control('s-maxage=60') })
    expect(await place.ask({ headers: { cookie: 'session=1' } })).toMatchObject({ word: 'miss', body: '1' })
    await expect.poll(() => place.ask()).toMatchObject({ word: 'hit', body: '2' })
    expect(await place.last()).not.toHaveProperty('cookie')
  })

  test('A5: what is kept for everybody was asked for without the address of whoever came by', async () => {
    const place = at({ headers: control('s-maxage=60') })
    await place.ask({ headers: { cookie: 'session=1' }, from: '127.0.3.7' })
    await expect.poll(() => place.ask()).toMatchObject({ word: 'hit', body: '2' })
    expect(await place.last()).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
    expect(await place.ask({ headers: { cookie: 'session=1' } })).toMatchObject({ word: 'hit', body: '2' })
  })

  test.each([
    ['x-forwarded-host', 'evil.example'],
    ['x-original-url', '/admin'],
    ['x-rewrite-url', '/admin'],
    ['x-http-method-override', 'POST'],
    ['x-host', 'evil.example'],
    ['x-anything', '<script>'],
    ['origin', 'https://evil.example'],
    ['range', 'bytes=0-0'],
  ])('A5: %s of whoever came first is not in what is kept', async (name, value) => {
    const place = at({ headers: control('s-maxage=60') })
    await place.ask({ headers: { [name]: value } })
    await expect.poll(() => place.ask()).toMatchObject({ word: 'hit' })
    expect(Object.values(await place.last()).join()).not.toContain(value)
  })

  test('A5: an answer for a language cannot be replaced by taking the language away on the way', async () => {
    const place = at({ headers: { ...control('s-maxage=60'), vary: 'Accept-Language' } })
    const poisoned = { 'accept-language': 'de', connection: 'close, accept-language' }
    expect(await place.ask({ headers: poisoned })).toMatchObject({ word: 'bypass' })
    expect(await place.last()).not.toHaveProperty('accept-language')
    expect(await place.ask({ headers: { 'accept-language': 'de' } })).toMatchObject({ word: 'miss', body: '2' })
  })

  test('A5: hosts and ports are kept apart as the app is told them', async () => {
    const { target } = at({ headers: control('s-maxage=60') })
    const words = []
    for (const host of [
      'cached.apps.localhost',
      'cached.apps.localhost:9999',
      'CACHED.apps.localhost',
      'cached.apps.localhost',
    ])
      words.push((await edge.ask(host, target)).headers['x-atelier-cache'])
    expect(words).toEqual(['miss', 'miss', 'miss', 'hit'])
  })

  test('E3: an app cannot say itself what the cache did, and its tags are between the two', async () => {
    const place = at({ headers: { 'x-atelier-cache': 'hit', 'cache-tag': 'a, b' } })
    const { word, headers } = await place.ask()
    expect(word).toBe('bypass')
    expect(headers).not.toHaveProperty('cache-tag')
  })
})

test('a page that a CDN in front may keep carries the cookie of no visitor of a rollout', async () => {
  const live = await edge.deploy('split', cacheable('old '))
  const next = await edge.prepare('split', cacheable('new '))
  await edge.sql`
    update routes
    set candidate_deployment = ${next.id}, weight = 50, generation = generation + 1
    where live_deployment = ${live.id}
  `
  const type = { 'content-type': 'text/html' }
  const ask = (path: string, headers: Record<string, string>) =>
    edge.ask('split', wish(path, { headers: { ...type, ...headers } }), { headers: { 'x-own': '1' } })
  await expect.poll(async () => (await ask('/own', {})).headers['set-cookie']).toBeDefined()
  for (const headers of [control('public, max-age=60'), { 'cdn-cache-control': 'max-age=60' }])
    for (let turn = 0; turn < 5; turn++)
      expect((await ask(`/shared${turn}`, headers)).headers).not.toHaveProperty('set-cookie')
})

describe('answers past their time', () => {
  test('within stale-while-revalidate the old one is served at once, and the app asked once, behind', async () => {
    const place = at({ headers: control('s-maxage=0, stale-while-revalidate=31535940'), holdFrom: 2 })
    expect(await place.ask()).toMatchObject({ word: 'miss', body: '1' })
    const many = await Promise.all(Array.from({ length: 20 }, () => place.ask()))
    expect(new Set(many.map(({ word, body }) => `${word} ${body}`))).toEqual(new Set(['stale 1']))
    await expect.poll(place.asked).toBe(2)
    await release()
    await expect.poll(async () => (await place.ask()).body).toBe('2')
  })

  test('after that, everybody waits for one new answer', async () => {
    const place = at({ headers: control('s-maxage=1'), delay: 100 })
    await place.ask()
    await expect.poll(async () => (await place.ask()).word).toBe('miss')
    expect(await place.asked()).toBe(2)
  })

  test('an answer that the app confirms by its ETag is not sent again', async () => {
    const place = at({ headers: { ...control('s-maxage=1'), etag: '"v1"', 'x-turn': '{n}' }, validates: true })
    await place.ask()
    // The second comes within its second.
    await expect
      .poll(async () => [await place.ask(), await place.ask()])
      .toMatchObject([
        { word: 'revalidated', body: '1', status: 200 },
        { word: 'hit', body: '1', headers: { 'x-turn': expect.stringMatching(/^[2-9]$/) } },
      ])
    expect(await place.last()).toMatchObject({ 'if-none-match': '"v1"' })
  })

  test('A5: a cookie that comes with such a confirmation is nobody else’s', async () => {
    const headers = { ...control('s-maxage=1'), etag: '"v1"' }
    const place = at({ headers, validates: true, confirms: { 'set-cookie': 'session=of-whoever-came' } })
    await place.ask()
    await expect.poll(place.asked, { interval: 100 }).toBe(1)
    for (let turn = 0; turn < 15; turn++) {
      expect((await place.ask()).headers).not.toHaveProperty('set-cookie')
      await pause(100)
    }
    expect(await place.asked()).toBeGreaterThan(1)
  })

  test('a confirmation that says no more holds on the terms there were, and is as young as it is', async () => {
    const headers = { ...control('s-maxage=3'), etag: '"v1"', age: '2', 'cache-tag': 'kept' }
    const place = at({ headers, validates: true, confirms: { 'x-confirmed': 'yes' } })
    await place.ask()
    await expect
      .poll(async () => [await place.ask(), await place.ask()])
      .toMatchObject([
        { word: 'revalidated', body: '1' },
        { word: 'hit', headers: { 'x-confirmed': 'yes', age: '0' } },
      ])
  })

  test('within stale-if-error an app that fails is not seen', async () => {
    const place = at({ headers: control('s-maxage=1, stale-if-error=600') })
    const bare = at({ headers: control('s-maxage=1') })
    await Promise.all([place.ask(), bare.ask()])
    await failing(true)
    await expect.poll(() => place.ask()).toMatchObject({ word: 'stale', body: '1', status: 200 })
    await expect.poll(() => bare.ask()).toMatchObject({ status: 500 })
    await failing(false)
    expect(await place.ask()).toMatchObject({ word: 'miss', status: 200 })
  })

  test('an app that is gone is not seen, either', async () => {
    await edge.deploy('falls', cacheable())
    const target = wish('/page', { headers: control('s-maxage=0, stale-while-revalidate=0, stale-if-error=600') })
    const kept = wish('/kept', { headers: control('s-maxage=1, stale-if-error=600') })
    expect((await edge.ask('falls', target)).headers['x-atelier-cache']).toBe('bypass')
    await edge.ask('falls', kept)
    // The first crash is mended at once, the next ones after longer and longer.
    const fall = async () => {
      await edge.ask('falls', '/exit').catch(() => null)
      const { status, headers } = await edge.ask('falls', kept)
      return `${status} ${headers['x-atelier-cache']}`
    }
    await expect.poll(fall, { timeout: 30_000 }).toBe('200 stale')
  })

  test('a renewal that fails leaves the old answer, and is tried again', async () => {
    const place = at({ headers: control('s-maxage=0, stale-while-revalidate=600') })
    await place.ask()
    await failing(true)
    for (let turn = 0; turn < 5; turn++) expect(await place.ask()).toMatchObject({ word: 'stale', body: '1' })
    await failing(false)
    await expect.poll(async () => Number((await place.ask()).body), { timeout: 30_000 }).toBeGreaterThan(1)
  })

  test('an address whose answers are no longer for everybody is let go', async () => {
    const path = `/changes${++paths}`
    const kept = wish(path, { headers: { ...control('s-maxage=1'), etag: '"v1"' } })
    await edge.ask('cached', kept)
    await failing(true)
    await expect.poll(async () => (await edge.ask('cached', kept)).status).toBe(500)
    await failing(false)
  })
})

describe('many who want the same', () => {
  test('a hundred first requests are one for the app', async () => {
    const place = at({ headers: control('s-maxage=60'), delay: 300 })
    const all = await Promise.all(Array.from({ length: 100 }, () => place.ask()))
    expect(new Set(all.map(({ body }) => body))).toEqual(new Set(['1']))
    expect(all.filter(({ word }) => word === 'miss')).toHaveLength(1)
    expect(await place.asked()).toBe(1)
  })

  test('an answer in pieces is one for the app, too, and begins for the first before it is whole', async () => {
    const place = at({ headers: control('s-maxage=60'), body: 'x', times: 40_000, pieces: 4_000, pause: 20 })
    const all = await Promise.all(Array.from({ length: 20 }, () => place.ask()))
    expect(new Set(all.map(({ body }) => body.length))).toEqual(new Set([40_000]))
    expect(await place.asked()).toBe(1)
  })

  test('when the answer is for one alone each asks for itself, side by side', async () => {
    const place = at({ headers: control('private'), holdFrom: 2 })
    const asking = Array.from({ length: 20 }, () => place.ask())
    // One behind the other only the second would be there.
    await expect.poll(place.asked).toBe(20)
    await release()
    const all = await Promise.all(asking)
    expect(new Set(all.map(({ body }) => body)).size).toBe(20)
    const asked = Array.from({ length: 5 }, () => place.ask())
    await expect.poll(place.asked).toBe(25)
    await release()
    const later = await Promise.all(asked)
    expect(later.map(({ word }) => word)).toEqual(Array(5).fill('bypass'))
  })

  test('requests with a cookie do not wait for what may be about somebody else', async () => {
    const place = at({ headers: control('private'), delay: 200 })
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, index) => place.ask({ headers: { cookie: `id=${index}` } })),
    )
    expect(new Set(all.map(({ body }) => body)).size).toBe(10)
  })

  test('of many first requests with cookies each is answered for itself, and the app asked once more for everybody', async () => {
    const place = at({ headers: control('s-maxage=60'), holdFrom: 1 })
    const asked = { headers: { cookie: 'id=1' } }
    const asking = Array.from({ length: 10 }, () => place.ask(asked))
    await expect.poll(place.asked).toBe(10)
    await release()
    const all = await Promise.all(asking)
    expect(new Set(all.map(({ word }) => word))).toEqual(new Set(['miss']))
    await expect.poll(place.asked).toBe(11)
    await release()
    await expect.poll(() => place.ask(asked)).toMatchObject({ word: 'hit' })
    expect(await place.asked()).toBe(11)
  })

  test('the first may leave without failing the others', async () => {
    const place = at({ headers: control('s-maxage=60'), holdFrom: 1 })
    const first = await edge.socket()
    first.write(`GET ${place.target} HTTP/1.1\r\nHost: cached.apps.localhost\r\n\r\n`)
    await expect.poll(place.asked).toBe(1)
    const others = Array.from({ length: 10 }, () => place.ask())
    await edge.ask('cached', '/asked')
    first.destroy()
    await release()
    expect(new Set((await Promise.all(others)).map(({ status, body }) => `${status} ${body}`))).toEqual(
      new Set(['200 1']),
    )
    expect(await place.asked()).toBe(1)
  })

  test('the first may read slowly without holding the others up', async () => {
    const place = at({ headers: control('s-maxage=60'), body: 'x', times: 900_000, pieces: 100_000 })
    const first = await edge.socket()
    first.pause()
    first.write(`GET ${place.target} HTTP/1.1\r\nHost: cached.apps.localhost\r\n\r\n`)
    await expect.poll(place.asked).toBe(1)
    expect((await place.ask()).body).toHaveLength(900_000)
    expect(await place.asked()).toBe(1)
    first.destroy()
  })
})

describe('fetch apps', () => {
  beforeAll(async () => {
    await edge.deploy('fetches', {
      kind: 'fetch',
      server: {
        'index.mjs': `
let asked = 0
const forAll = { headers: { 'cache-control': 's-maxage=60' } }
const pieces = (count, fails) => new ReadableStream({
  async pull(controller) {
    if (count-- > 0) { await new Promise((settle) => setTimeout(settle, 20)); return controller.enqueue(new TextEncoder().encode('piece ')) }
    if (fails) controller.error(new Error('broken'))
    else controller.close()
  },
})
export default { fetch(request) {
  asked++
  const { pathname } = new URL(request.url)
  if (pathname === '/asked') return new Response(String(asked))
  if (pathname === '/pieces') return new Response(pieces(10, false), forAll)
  if (pathname === '/broken') return new Response(pieces(3, true), forAll)
  return new Response(pathname + ' ' + asked, pathname === '/whole' ? forAll : undefined)
} }`,
      },
    })
  })

  const word = async (path: string) => {
    const { headers, body } = await edge.ask('fetches', path)
    return `${headers['x-atelier-cache']} ${body}`
  }

  test('are cached whole or in pieces, and asked each time for what says nothing', async () => {
    const first = await word('/whole')
    expect(first).toMatch(/^miss/)
    expect(await word('/whole')).toBe(first.replace('miss', 'hit'))
    const all = await Promise.all(Array.from({ length: 5 }, () => word('/pieces')))
    expect(all.filter((one) => one.startsWith('miss'))).toHaveLength(1)
    expect(new Set(all.map((one) => one.replace(/^\w+ /, '')))).toEqual(new Set(['piece '.repeat(10)]))
    expect(await word('/other')).toMatch(/^bypass/)
  })

  test('I4: one that fails in mid-answer is asked again', async () => {
    for (let turn = 0; turn < 3; turn++) await expect(word('/broken')).rejects.toThrow()
  })
})

describe('hostile apps', () => {
  test('I4: a body that is cut is never kept', async () => {
    for (const wished of [
      { body: 'x'.repeat(100), headers: { ...control('s-maxage=60'), 'content-length': '100' }, cutAt: 50 },
      {
        body: 'x'.repeat(100),
        headers: { ...control('s-maxage=60'), 'transfer-encoding': 'chunked' },
        cutAt: 50,
        pieces: 10,
      },
      { body: 'x'.repeat(100), headers: { ...control('s-maxage=60'), connection: 'close' }, cutAt: 50, pieces: 10 },
    ]) {
      const place = at(wished)
      for (let turn = 1; turn <= 2; turn++) await place.ask().catch(() => null)
      expect(await place.asked()).toBeGreaterThanOrEqual(2)
    }
  })

  test('I4: a Date of a form of its own does not get into what is sent for it', async () => {
    const { target } = at({ headers: { ...control('s-maxage=60'), Date: 'then', 'x-after': 'untouched' } })
    const socket = await edge.socket()
    const request = `GET ${target} HTTP/1.1\r\nHost: cached.apps.localhost\r\n\r\n`
    const answers: string[] = []
    for (let turn = 0; turn < 6; turn++) {
      socket.write(request)
      answers.push(String((await once(socket, 'data'))[0]))
    }
    socket.destroy()
    expect(answers.at(-1)).toContain('x-atelier-cache: hit')
    for (const answer of answers) expect(answer).toContain('\r\nx-after: untouched\r\n')
    for (const answer of answers.slice(1)) expect(answer).toMatch(/\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/)
  })

  test('I4: a body without end reaches its client and nothing of it stays', async () => {
    const place = at({ headers: control('s-maxage=60'), body: 'x', times: 2_000_000, pieces: 100_000 })
    expect((await place.ask()).body).toHaveLength(2_000_000)
    expect(await place.ask()).toMatchObject({ word: 'miss' })
    expect(await place.asked()).toBe(2)
  })

  test('I4: one that sends a little and then nothing holds up its own address for a few seconds at most', async () => {
    const place = at({ headers: { ...control('s-maxage=60'), 'content-length': '100' }, never: true })
    const first = await edge.socket()
    first.write(`GET ${place.target} HTTP/1.1\r\nHost: cached.apps.localhost\r\n\r\n`)
    await expect.poll(place.asked).toBe(1)
    const second = await edge.socket()
    second.write(`GET ${place.target} HTTP/1.1\r\nHost: cached.apps.localhost\r\n\r\n`)
    await expect.poll(place.asked, { timeout: 30_000 }).toBe(2)
    first.destroy()
    second.destroy()
  })

  test('E8: an answer for everybody is given up with its client, when nobody else waits for it', async () => {
    await edge.deploy('left', cacheable())
    const aborted = async (): Promise<number> => JSON.parse((await edge.ask('left', '/asked')).body).aborted
    const clients = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const headers = { ...control('s-maxage=60'), 'content-length': '100' }
        const socket = await edge.socket()
        socket.write(`GET ${wish(`/${index}`, { headers, never: true })} HTTP/1.1\r\nHost: left.apps.localhost\r\n\r\n`)
        await once(socket, 'data')
        return socket
      }),
    )
    expect(await aborted()).toBe(0)
    for (const socket of clients) socket.destroy()
    await expect.poll(aborted).toBe(20)
  })

  test('I4: ten thousand tags cost the app its cache, and nobody else anything', async () => {
    const tags = Array.from({ length: 1_500 }, (_, index) => `t${index}`).join()
    const place = at({ headers: { ...control('s-maxage=60'), 'cache-tag': tags } })
    await place.ask()
    expect(await place.ask()).toMatchObject({ word: 'bypass', status: 200 })
  })
})
