import { describe, expect, test } from 'vitest'
import { parseVersion, shortVersion, timestampVersion } from './version.ts'

describe('parseVersion', () => {
  test.each([
    ['3f2a91c', { kind: 'sha', text: '3f2a91c' }],
    ['a'.repeat(40), { kind: 'sha', text: 'a'.repeat(40) }],
    ['v17', { kind: 'number', number: 17 }],
    ['20260328-153042', { kind: 'timestamp', text: '20260328-153042' }],
    ['1.2.3', { kind: 'release', text: '1.2.3' }],
    ['1.2.3-rc.1', { kind: 'release', text: '1.2.3-rc.1' }],
  ])('reads %s', (text, name) => {
    expect(parseVersion(text)).toEqual(name)
  })

  test.each([
    '',
    'abc',
    '../../b/x',
    'A'.repeat(40),
    `${'a'.repeat(40)}%2f`,
    'v0',
    'v',
    '1.2',
    'latest',
    '3f2a91c\n',
    'a'.repeat(65),
    '--help',
  ])('refuses %j', (text) => {
    expect(() => parseVersion(text)).toThrow(expect.objectContaining({ code: 'VERSION_ILLEGAL' }))
  })
})

test('a git SHA is shown as seven characters, other versions whole', () => {
  expect(shortVersion('3f2a91c0aa'.padEnd(40, '0'))).toBe('3f2a91c')
  expect(shortVersion('20260328-153042')).toBe('20260328-153042')
})

test('an upload is named by the second it was made', () => {
  expect(timestampVersion(new Date('2026-03-28T15:30:42.123Z'))).toBe('20260328-153042')
})
