import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { quoteWord, splitCommand } from './start-command.ts'

test.for([
  ['node server.js', {}, ['node', 'server.js']],
  [
    `  A=1  B="two words" C=  exec ./bin/app --x='a b'c "d  e"  `,
    { A: '1', B: 'two words', C: '' },
    ['./bin/app', '--x=a bc', 'd  e'],
  ],
  ['node ""', {}, ['node', '']],
  ['node a=b', {}, ['node', 'a=b']],
] as const)('%s needs no shell', ([command, env, words]) => {
  const [file, ...args] = words
  expect(splitCommand(command)).toEqual({ env, file, args })
})

test.for([
  ...[
    'a | b',
    'a && b',
    'a; b',
    'a &',
    'a > b',
    'a $PORT',
    'a "$PORT"',
    'a `b`',
    'a *.js',
    'a ~',
    'a # b',
    '(a)',
    'a \\n',
    '!a',
  ],
  ...['cd x', '. x', 'if', "a 'b", 'a "b', 'a\nb', 'A=1', '', '   '],
])('%s needs one, or is no command', (command) => {
  expect(splitCommand(command)).toBeNull()
})

test('what is split without a shell is what a shell would have made of it', () => {
  const word = fc.string({ unit: fc.constantFrom(...`ab='" .-/$\\*~%:@`), maxLength: 6 })
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 4 }), (words) => {
      const plain = splitCommand(`echo ${words.join(' ')}`)
      if (!plain) return
      const printed = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${words.join(' ')}`], { encoding: 'utf8' })
      expect(plain.args.length > 0 ? plain.args : ['']).toEqual(printed.split('\0').slice(0, -1))
    }),
    { numRuns: 300 },
  )
})

test('a quoted word is one word, whatever it holds', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: fc.constantFrom(...`ab' "$\\=-;`) }), (word) => {
      const command = `node ${quoteWord(word)}`
      const plain = splitCommand(command)
      if (plain) expect(plain.args).toEqual([word])
      else expect(execFileSync('/bin/sh', ['-c', `printf %s ${quoteWord(word)}`], { encoding: 'utf8' })).toBe(word)
    }),
    { numRuns: 200 },
  )
})
