import { expect, test } from 'vitest'
import { printable } from './printable.ts'

test('plain text, tabs, accents and colours pass unchanged', () => {
  for (const text of ['', 'ready\tin 2 s', 'prêt ✓ 👍', '\u001b[32mgreen\u001b[0m', '\u001b[1;31mbold\u001b[m'])
    expect(printable(text)).toBe(text)
})

test('sequences that move, hide or copy are made visible and inert', () => {
  expect(printable('\u001b[2J')).toBe('␛[2J')
  expect(printable('\u001b]52;c;aGk=\u0007')).toBe('␛]52;c;aGk=␇')
  expect(printable('safe\rFAKE')).toBe('safe␍FAKE')
  expect(printable('one\ntwo')).toBe('one␊two')
  expect(printable('\u009b31m')).toBe('\ufffd31m')
  expect(printable('abc\u202ecba')).toBe('abc\ufffdcba')
})

test('a colour next to a forbidden sequence keeps the colour only', () => {
  expect(printable('\u001b[31mred\u001b[0m\u001b[H')).toBe('\u001b[31mred\u001b[0m␛[H')
})
