import { expect, test } from 'vitest'
import { acceptedEncodings } from './content-encoding.ts'

test.each([
  [undefined, []],
  ['', []],
  ['gzip, deflate, br, zstd', ['br', 'gzip', 'zstd']],
  ['gzip;q=0.5, BR ;q=1', ['br', 'gzip']],
  ['br;q=0, gzip', ['gzip']],
  ['*', ['br', 'gzip', 'zstd']],
  ['*;q=0.1, br;q=0', ['gzip', 'zstd']],
  ['*;q=0', []],
  ['identity', []],
  ['br;q=nonsense', []],
])('Accept-Encoding: %s allows %j', (header, expected) => {
  const accepted = acceptedEncodings(header)
  expect(['br', 'gzip', 'zstd'].filter((coding) => accepted.has(coding))).toEqual(expected)
})
