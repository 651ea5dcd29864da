import { expect, test } from 'vitest'
import { forClients, isForEverybody, readCacheControl } from './cache-control.ts'

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

test('for everybody is what a shared cache may serve without asking', () => {
  for (const header of [
    'max-age=60',
    'public, max-age=60',
    's-maxage=1',
    's-maxage=60, max-age=0',
    'public',
    'immutable, max-age=9',
  ])
    expect(isForEverybody(header), header).toBe(true)
  for (const header of [
    ...[
      '',
      'private, max-age=60',
      'max-age=60, private="set-cookie"',
      'max-age=60, no-store',
      'public, max-age=60, no-cache',
    ],
    ...['s-maxage=0, max-age=60', 'public, max-age=0, must-revalidate', 'public, s-maxage=0'],
  ])
    expect(isForEverybody(header), header).toBe(false)
})
