import type { IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readTerms } from './cache-policy.ts'
import { CachedAnswer } from './cached-answer.ts'
import { answerIn, ResponseCache } from './response-cache.ts'

const megabyte = 1_048_576
const limits = { cacheBytes: megabyte, cacheEntryBytes: megabyte / 8 }
const asked = { headers: {} } as IncomingMessage

function answerOf(bytes: number, tags = ''): CachedAnswer {
  const headers = ['content-type', 'text/html', 'cache-control', 's-maxage=60', 'cache-tag', tags]
  const terms = readTerms(200, headers)
  if (!terms) throw new Error('it would not be kept')
  const head = {
    status: 200,
    reason: 'OK',
    headers,
    type: 'text/html',
    mayHaveBody: true,
    hasLength: false,
    hasTrailer: false,
  }
  return new CachedAnswer({ head, terms, body: Buffer.alloc(bytes), at: performance.now() }, [])
}

function put(
  cache: ResponseCache,
  deployment: string,
  key: string,
  answer: CachedAnswer,
  vary: string[] = [],
  variant = '',
) {
  const shelf = cache.shelf({ id: deployment, appId: `app-${deployment}` })
  shelf.put(shelf.open(key, { target: `/${key}`, asked: `/${key}` }, vary), variant, answer)
}

const has = (cache: ResponseCache, deployment: string, key: string) => {
  const slot = cache.shelf({ id: deployment, appId: `app-${deployment}` }).find(key)
  return slot !== undefined && answerIn(slot, asked) !== null
}

test('whatever is put, purged and dropped, the bytes stay within the bound and come back to nothing', () => {
  const deployment = fc.constantFrom('a', 'b', 'c')
  const key = fc.nat(30).map(String)
  const step = fc.oneof(
    fc.record({
      do: fc.constant('put' as const),
      deployment,
      key,
      bytes: fc.nat(megabyte / 8),
      grows: fc.nat(5_000),
      variant: fc.nat(40),
    }),
    fc.record({ do: fc.constant('purge' as const), deployment }),
    fc.record({ do: fc.constant('drop' as const), deployment }),
    fc.record({ do: fc.constant('remove' as const), deployment, key }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const cache = new ResponseCache(limits)
      for (const one of steps) {
        const app = `app-${one.deployment}`
        if (one.do === 'put') {
          const answer = answerOf(one.bytes)
          put(cache, one.deployment, one.key, answer, one.variant > 20 ? ['accept'] : [], String(one.variant))
          answer.bytes += one.grows
          answer.onGrowth?.(one.grows)
        } else if (one.do === 'purge') cache.purge({ app, all: true, tags: [], paths: [] })
        else if (one.do === 'drop') cache.drop(one.deployment)
        else cache.shelf({ id: one.deployment, appId: app }).remove(one.key)
        expect(cache.bytes).toBeGreaterThanOrEqual(0)
        expect(cache.bytes).toBeLessThanOrEqual(limits.cacheBytes)
      }
      for (const id of ['a', 'b', 'c']) cache.drop(id)
      expect(cache.bytes).toBe(0)
    }),
    { numRuns: 300 },
  )
})

test('an app that floods the cache throws out its own answers', () => {
  const cache = new ResponseCache(limits)
  for (let index = 0; index < 20; index++) put(cache, 'quiet', `q${index}`, answerOf(1_000))
  for (let index = 0; index < 5_000; index++) put(cache, 'loud', `l${index}`, answerOf(10_000))
  for (let index = 0; index < 20; index++) expect(has(cache, 'quiet', `q${index}`)).toBe(true)
  expect(cache.bytes).toBeLessThanOrEqual(limits.cacheBytes)
})

test('what is used outlives what is not', () => {
  const cache = new ResponseCache(limits)
  put(cache, 'a', 'used', answerOf(10_000))
  const used = cache.shelf({ id: 'a', appId: 'app-a' }).find('used')
  for (let index = 0; index < 1_000; index++) {
    put(cache, 'a', `once-${index}`, answerOf(10_000))
    if (used) used.isUsed = true
  }
  expect(has(cache, 'a', 'used')).toBe(true)
  expect(has(cache, 'a', 'once-0')).toBe(false)
})

test('an answer that came whole with a whole head keeps its own headers alone in memory', () => {
  const junk = 'x'.repeat(100_000)
  const [, type = ''] = `${junk}\ntext/html; charset=utf-8`.split('\n')
  const cache = new ResponseCache(limits)
  const terms = readTerms(200, ['cache-control', 's-maxage=60'])
  if (!terms) throw new Error('it would not be kept')
  const head = {
    status: 200,
    reason: 'OK',
    headers: ['content-type', type],
    type,
    mayHaveBody: true,
    hasLength: false,
    hasTrailer: false,
  }
  put(cache, 'a', 'k', new CachedAnswer({ head, terms, body: Buffer.alloc(10), at: 0 }, []))
  expect(cache.bytes).toBeLessThan(3_000)
})

test('deployments do not see each other, whatever the address', () => {
  const cache = new ResponseCache(limits)
  put(cache, 'old', 'same', answerOf(100))
  expect(has(cache, 'new', 'same')).toBe(false)
  expect(has(cache, 'old', 'same')).toBe(true)
  cache.drop('old')
  expect(has(cache, 'old', 'same')).toBe(false)
})

test('an answer for a deployment that has gone meanwhile is not kept', () => {
  const cache = new ResponseCache(limits)
  const shelf = cache.shelf({ id: 'a', appId: 'app-a' })
  cache.drop('a')
  expect(shelf.isClosed).toBe(true)
  expect(cache.shelf({ id: 'a', appId: 'app-a' })).not.toBe(shelf)
})

test('tags and paths find what they name', () => {
  const cache = new ResponseCache(limits)
  const purge = (what: { tags?: string[]; paths?: string[] }) =>
    cache.purge({ app: 'app-a', all: false, tags: [], paths: [], ...what })
  for (let index = 0; index < 10; index++)
    put(cache, 'a', `k${index}`, answerOf(10, `even-${index % 2 === 0}, n${index}`))
  expect(purge({ tags: ['even-true'] })).toBe(5)
  expect(purge({ tags: ['n1', 'n2'] })).toBe(1)
  expect(purge({ paths: ['/k3', '/k3', '/nothing'] })).toBe(1)
  expect(purge({ paths: ['/k*'] })).toBe(3)
  expect(purge({ paths: ['/*'], tags: ['n9'] })).toBe(0)
})
