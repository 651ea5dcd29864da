import { expect, test } from 'vitest'
import { forClients, readCacheControl } from './cache-control.ts'

test('a Cache-Control header is read whatever its spelling, and in doubt for the careful side', () => {
  expect(readCacheControl('Public, MAX-AGE=60')).toMatchObject({ isPublic: true, maxAge: 60, isForbidden: false })
  expect(readCacheControl('s-maxage="30" , stale-while-revalidate=31535940')).toMatchObject({
    sharedMaxAge: 30,
    staleWhileRevalidate: 31_535_940,
  })
  expect(readCacheControl('max-age=60, max-age=5').maxAge).toBe(5)
  expect(readCacheControl('s-maxage=soon').sharedMaxAge).toBe(0)
  expect(readCacheControl('s-maxage=-1').sharedMaxAge).toBe(0)
  expect(readCacheControl('s-maxage=60, private="x-name, y-name"').isForbidden).toBe(true)
  expect(readCacheControl('s-maxage=60, no-cache="set-cookie"').isForbidden).toBe(true)
  expect(readCacheControl('x-private=1, public')).toMatchObject({ isForbidden: false, isPublic: true })
  expect(readCacheControl('').isForbidden).toBe(false)
})

test('clients are not told what is said to shared caches alone', () => {
  expect(forClients('s-maxage=60, stale-while-revalidate=31535940')).toBe('max-age=0, must-revalidate')
  expect(forClients('public, max-age=60, s-maxage=600')).toBe('public, max-age=60')
  expect(forClients('public, s-maxage=600, must-revalidate')).toBe('public, must-revalidate, max-age=0')
  expect(forClients('public, max-age=60, community="UCI, x"')).toBe('public, max-age=60, community="UCI, x"')
})
