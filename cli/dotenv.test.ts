import { parseEnv } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseDotenv } from './dotenv.ts'

const parse = (text: string) => parseDotenv(text, { path: '.env' })

test.each([
  ['a plain one', 'A=b', { A: 'b' }],
  ['several, the last of a name', 'A=1\nB=2\nA=3\n', { A: '3', B: '2' }],
  ['exported ones', 'export A=b\n  export\tC=d', { A: 'b', C: 'd' }],
  ['a mark of byte order', '\uFEFFA=1\nB=2', { A: '1', B: '2' }],
  ['line ends of Windows, and of old Macs', 'A=1\r\nB="x\r\ny"\rC=3', { A: '1', B: 'x\ny', C: '3' }],
  ['comments', '# one\nA=b # two\n\n   # three\nC="#d" # "four"\nE=#five', { A: 'b', C: '#d', E: '' }],
  ['nothing at all', 'A=\nB=""\nC=\'\'\n', { A: '', B: '', C: '' }],
  ['space around', '  A  =  b c  \nD=" e "', { A: 'b c', D: ' e ' }],
  ['quotes in other quotes', `A='say "hi"'\nB="it's"\nC=\`'"\``, { A: 'say "hi"', B: "it's", C: `'"` }],
  ['a quote in the middle', `A=it's\nB=a"b"c`, { A: "it's", B: 'a"b"c' }],
  [
    'escapes, in double quotes only',
    'A="a\\nb\\t\\"c\\" \\\\ \\d"\nB=\'a\\nb\'',
    { A: 'a\nb\t"c" \\ \\d', B: 'a\\nb' },
  ],
  [
    'a key over several lines',
    'KEY="-----BEGIN\nabc=\n# no comment\n-----END"\nB=1',
    { KEY: '-----BEGIN\nabc=\n# no comment\n-----END', B: '1' },
  ],
  [
    'values with = and $',
    'A=postgres://u:p@h/d?x=y\nB=$HOME\nC="$A"',
    { A: 'postgres://u:p@h/d?x=y', B: '$HOME', C: '$A' },
  ],
  ['an empty file', '', {}],
  ['a name that the platform will refuse', 'my-name.x=1', { 'my-name.x': '1' }],
  ['a name of JavaScript', '__proto__=1\nconstructor=2', JSON.parse('{"__proto__":"1","constructor":"2"}')],
])('reads %s', (_what, text, expected) => {
  expect(Object.entries(parse(text))).toEqual(Object.entries(expected))
})

test.each([
  ['A=1\nsecret words\n', 'line 2 is not NAME=value'],
  ['A=1\n\n# x\nB="open\nC=2\n', 'line 4 begins a quoted value that does not end'],
  ["A='x' y", 'line 1 begins a quoted value'],
  ['=x', 'line 1 is not NAME=value'],
  ['A', 'line 1 is not NAME=value'],
])('refuses %j, and does not repeat it', (text, message) => {
  expect(() => parse(text)).toThrow(message)
  expect(() => parse(text)).not.toThrow(/secret|open\n/)
})

test('what is quoted comes out as it went in, and of plain lines what Node makes of them', () => {
  const plain = fc.stringMatching(/^[A-Za-z0-9:/@._?=&%+-]{0,30}$/)
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), plain, (any, word) => {
      const value = any.replace(/\r/g, '')
      expect(parse(`A='${value.replaceAll("'", '')}'`)).toEqual({ A: value.replaceAll("'", '') })
      const escaped = value.replace(/[\\"]/g, '\\$&')
      expect(parse(`A="${escaped}"\nB=1`)).toEqual({ A: value, B: '1' })
      expect(parse(`A=${word}\n`)).toEqual({ ...parseEnv(`A=${word}\n`) })
    }),
  )
})
