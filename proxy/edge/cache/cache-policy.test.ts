import fc from 'fast-check'
import CachePolicy from 'http-cache-semantics'
import { expect, test } from 'vitest'
import { readTags, readTerms } from './cache-policy.ts'

const terms = (headers: Record<string, string>, status = 200) => readTerms(status, Object.entries(headers).flat())
const lifetime = (control: string, more: Record<string, string> = {}) =>
  terms({ 'cache-control': control, ...more })?.lifetime ?? null

test('an answer is kept only when the app says that everybody may have it', () => {
  expect(lifetime('s-maxage=60')).toMatchObject({ freshMs: 60_000 })
  expect(lifetime('public, max-age=60')).toMatchObject({ freshMs: 60_000 })
  expect(lifetime('public, max-age=60, s-maxage=5')).toMatchObject({ freshMs: 5_000 })
  expect(lifetime('s-maxage=0, stale-while-revalidate=60')).toMatchObject({
    freshMs: 0,
    staleWhileRevalidateMs: 60_000,
  })
  expect(lifetime('max-age=60')).toBe(null)
  expect(lifetime('public')).toBe(null)
  expect(lifetime('public, s-maxage=0')).toBe(null)
  expect(terms({ expires: 'Thu, 01 Jan 2099 00:00:00 GMT' })).toBe(null)
  expect(terms({})).toBe(null)
})

test('A5: an answer that is private, personal, partial, without a body, or of another kind is never kept', () => {
  for (const word of ['private', 'no-store', 'no-cache', 'private="x"'])
    expect(lifetime(`s-maxage=60, ${word}`)).toBe(null)
  expect(lifetime('s-maxage=60', { 'Set-Cookie': 'a=1' })).toBe(null)
  expect(lifetime('s-maxage=60', { 'content-range': 'bytes 0-1/2' })).toBe(null)
  for (const status of [201, 202, 204, 206, 302, 303, 304, 307, 400, 401, 403, 429, 500, 503])
    expect(terms({ 'cache-control': 'public, s-maxage=60' }, status)).toBe(null)
  for (const status of [200, 301, 308, 404, 410])
    expect(terms({ 'cache-control': 'public, s-maxage=60' }, status)).not.toBe(null)
})

test('A5: what varies by who asks is not kept, nor by a header that the edge writes itself', () => {
  for (const vary of [
    '*',
    'Cookie',
    'accept, COOKIE',
    'Authorization',
    'X-Forwarded-For',
    'X-Real-IP',
    'X-Atelier-Version',
  ])
    expect(lifetime('s-maxage=60', { vary })).toBe(null)
  expect(lifetime('s-maxage=60', { vary: 'a,b,c,d,e,f,g,h,i,j,k' })).toBe(null)
  expect(terms({ 'cache-control': 's-maxage=60', vary: 'RSC, Accept-Encoding, Accept-Language' })?.vary).toEqual([
    'accept-language',
    'rsc',
  ])
})

test('CDN-Cache-Control counts before Cache-Control, both ways', () => {
  expect(lifetime('no-store', { 'cdn-cache-control': 'max-age=60' })).toMatchObject({ freshMs: 60_000 })
  expect(lifetime('s-maxage=60', { 'cdn-cache-control': 'no-store' })).toBe(null)
})

test('must-revalidate takes the times for old answers away; an Age that came along is counted', () => {
  expect(lifetime('s-maxage=5, stale-while-revalidate=60, stale-if-error=60, must-revalidate')).toMatchObject({
    ...{ staleWhileRevalidateMs: 0, staleIfErrorMs: 0 },
  })
  expect(terms({ 'cache-control': 's-maxage=60', age: '50' })?.ageMs).toBe(50_000)
})

test('more tags than are kept, or longer ones, and the answer is not kept', () => {
  expect(readTags('a, b,,a , c')).toEqual(['a', 'b', 'c'])
  expect(readTags(Array.from({ length: 10_000 }, (_, index) => `t${index}`).join())).toBe(null)
  expect(readTags('x'.repeat(1_000_000))).toBe(null)
})

test('whatever is kept, RFC 9111 lets a shared cache keep, and for no longer', () => {
  const word = fc.constantFrom(
    'public',
    'private',
    'no-store',
    'no-cache',
    'must-revalidate',
    'proxy-revalidate',
    'immutable',
  )
  const time = fc
    .tuple(fc.constantFrom('max-age', 's-maxage', 'stale-while-revalidate', 'stale-if-error'), fc.nat(100_000))
    .map((pair) => pair.join('='))
  const directive = fc.oneof({ weight: 1, arbitrary: word }, { weight: 4, arbitrary: time })
  const headers = fc.record(
    {
      'cache-control': fc
        .uniqueArray(directive, { selector: (text) => text.split('=')[0] })
        .map((list) => list.join(', ')),
      'set-cookie': fc.constant('a=1'),
      expires: fc.constantFrom('0', 'Thu, 01 Jan 2099 00:00:00 GMT'),
      vary: fc.constantFrom('*', 'accept', 'cookie', 'accept-encoding'),
      age: fc.nat(1000).map(String),
    },
    { requiredKeys: ['cache-control'] },
  )
  const status = fc.oneof(fc.constant(200), fc.constantFrom(203, 204, 206, 301, 302, 307, 308, 404, 410, 500))
  let kept = 0
  fc.assert(
    fc.property(headers, status, (given, code) => {
      const ours = terms(given, code)
      if (ours === null) return
      kept++
      const policy = new CachePolicy(
        { url: '/', method: 'GET', headers: { host: 'a' } },
        { status: code, headers: given },
        { shared: true },
      )
      expect(policy.storable()).toBe(true)
      const { freshMs, staleWhileRevalidateMs } = ours.lifetime
      // The library asks again each time for proxy-revalidate; RFC 9111 §5.2.2.8 means answers past their time.
      if (!/proxy-revalidate/.test(given['cache-control'])) expect(freshMs).toBeLessThanOrEqual(policy.maxAge() * 1000)
      if (staleWhileRevalidateMs > 0)
        expect(/must-revalidate|proxy-revalidate/.test(given['cache-control'])).toBe(false)
    }),
    { numRuns: 12_000 },
  )
  expect(kept).toBeGreaterThan(50)
})
