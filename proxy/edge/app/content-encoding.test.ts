import { expect, test } from 'vitest'
import { wantedEncodings } from './content-encoding.ts'

const order = (header: string | undefined) =>
  Object.entries(wantedEncodings(header))
    .filter(([, quality]) => quality > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([coding]) => coding)

test.each([
  [undefined, ['identity']],
  ['', ['identity']],
  ['gzip, deflate, br, zstd', ['br', 'zstd', 'gzip', 'identity']],
  ['gzip;q=0.5, BR ;q=1', ['br', 'gzip', 'identity']],
  ['zstd;q=0.1, gzip;q=0.9, br; q=0.5', ['gzip', 'br', 'zstd', 'identity']],
  ['br;q=0, gzip', ['gzip', 'identity']],
  ['x-gzip', ['gzip', 'identity']],
  ['*', ['br', 'zstd', 'gzip', 'identity']],
  ['*;q=0.1, br;q=0', ['zstd', 'gzip', 'identity']],
  ['*;q=0', []],
  ['identity;q=0', []],
  ['gzip, identity;q=0', ['gzip']],
  ['gzip;q=0.5, identity', ['identity', 'gzip']],
  ['identity;q=1, *;q=0', ['identity']],
  ['br;q=nonsense', ['identity']],
  ['br;q=1.5', ['identity']],
  ['__proto__, constructor', ['identity']],
])('Accept-Encoding: %s wants %j, in this order', (header, expected) => {
  expect(order(header)).toEqual(expected)
})
