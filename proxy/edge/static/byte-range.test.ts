import { expect, test } from 'vitest'
import { readRange } from './byte-range.ts'

test.each([
  [undefined, null],
  ['bytes=0-0', { start: 0, end: 0 }],
  ['bytes=0-', { start: 0, end: 99 }],
  ['bytes=90-200', { start: 90, end: 99 }],
  ['bytes=-10', { start: 90, end: 99 }],
  ['bytes=-1000', { start: 0, end: 99 }],
  ['bytes=100-', 'unsatisfiable'],
  ['bytes=-0', 'unsatisfiable'],
  ['bytes=5-1', null],
  ['bytes=-', null],
  ['bytes=0-1,5-6', null],
  [`bytes=${'0-1,'.repeat(1000)}2-3`, null],
  ['bytes=0x1-2', null],
  ['items=0-1', null],
  ['bytes=99999999999999999999-', null],
])('Range %s of 100 bytes is %j', (header, expected) => {
  expect(readRange(header, 100)).toEqual(expected)
})
