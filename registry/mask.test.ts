import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { Mask } from './mask.ts'
import { MaskedStream } from './masked-stream.ts'
import { secretForms } from './secret-forms.ts'

const secret = 'p@ss/word+12 3'
const pem = ['-----BEGIN KEY-----', 'MIIEvQIBADANBgkqhkiG', '9w0BAQEFAASCBKcwggSj', 'Zq==', '-----END KEY-----']
const mask = new Mask({
  DATABASE_URL: secret,
  SHORT: 'abc',
  YES: 'true',
  NODE_ENV: 'production',
  VITE_API: 'https://api.example.com',
  KEY: pem.join('\n'),
  STORE: 'https://key:very%2Fsecret@example.com/bucket',
})
const base64 = (text: string) => Buffer.from(text).toString('base64')

describe('B10 secrets', () => {
  test.each<[string, string]>([
    [`connecting to ${secret}!`, 'connecting to [DATABASE_URL]!'],
    [`${secret}${secret}`, '[DATABASE_URL][DATABASE_URL]'],
    [base64(secret), '[DATABASE_URL]='],
    [`url ${encodeURIComponent(secret)}`, 'url [DATABASE_URL]'],
    [`url ${encodeURIComponent(secret).toLowerCase()}`, 'url [DATABASE_URL]'],
    [`form ${new URLSearchParams({ a: secret })}`, 'form a=[DATABASE_URL]'],
    [Buffer.from(secret).toString('hex'), '[DATABASE_URL]'],
    ['MIIEvQIBADANBgkqhkiG', '[KEY]'],
    [JSON.stringify({ key: pem.join('\n') }), '{"key":"[KEY]"}'],
    ['password very/secret or very%2Fsecret', 'password [STORE] or [STORE]'],
    ['key at example.com/bucket', 'key at example.com/bucket'],
    ['abc is true in production at https://api.example.com', 'abc is true in production at https://api.example.com'],
  ])('%s is shown as %s', (line, shown) => {
    expect(mask.line(line)).toBe(shown)
  })

  test.each(['a:', 'ab:', 'abc:'])('base64 of %s and a secret shows none of its middle', (before) => {
    const middle = secret.slice(3, -3)
    const shown = mask.line(`Authorization: Basic ${base64(`${before}${secret}x`)}`)
    expect(shown).toContain('[DATABASE_URL]')
    expect(Buffer.from(shown.replace(/^.*Basic |\[.*\]/g, ''), 'base64').toString('latin1')).not.toContain(middle)
  })

  test('a secret is not put together by taking out what is between its parts', () => {
    expect(mask.line(`p@ss\0/wo\u202erd\x1b[2K+12 3`)).toBe('[DATABASE_URL]')
    expect(mask.line(`\x1b[31mp@ss/\x1b[32mword+12 3\x1b[0m red`)).toBe('[DATABASE_URL] red')
    expect(mask.line('\x1b[31mno secret\x1b[0m')).toBe('\x1b[31mno secret\x1b[0m')
  })

  test('a secret with what is taken out of a line, or stands at its edge, is hidden all the same', () => {
    const odd = {
      TAB: 'correct\thorse',
      END: 'battery staple ',
      BEGINNING: '  trombone-blue',
      UNSEEN: 'left\u200eand-right',
    }
    const printed = Object.values(odd)
    const named = Object.keys(odd).map((name) => `[${name}]`)
    const hiding = new Mask(odd)
    expect(printed.map((value) => hiding.line(value).trim())).toEqual(named)
    expect(printed.map((value) => hiding.text(`  ${value}`).join().trim())).toEqual(named)
    expect(hiding.line(`it is ${odd.END}and ${odd.TAB}`)).toBe('it is [END] and [TAB]')
    expect(hiding.line('production')).toBe('production')
    expect(new Mask({ STAGE: 'production ' }).line('in production')).toBe('in production')
  })

  test('nothing to hide, nothing hidden', () => {
    expect(new Mask({}).line('x')).toBe('x')
  })
})

/** What is shown of a text that comes line by line, and what of that before its end. */
function shown(text: string, through = mask) {
  const lines: string[] = []
  const masked = new MaskedStream(through, (line) => lines.push(line))
  for (const line of text.replace(/\n$/, '').split('\n')) masked.push(line)
  const before = [...lines]
  masked.end()
  return { lines, before }
}

test('B10: as many and as large values as an app may have are hidden, and what a cut left of them', () => {
  const values = Array.from({ length: 200 }, () => randomBytes(32_760).toString('hex'))
  const large = new Mask(Object.fromEntries(values.map((value, index) => [`LARGE_${index}`, value])))
  const value = values[7] ?? ''
  expect(large.line(`it is ${value}!`)).toBe('it is [LARGE_7]!')
  expect(large.line(`cut ${value.slice(0, 16_000)}`)).toBe('cut [LARGE_7]')
  const wrapped = value.replaceAll(/.{100}/g, '$&\n')
  expect(new Set(shown(`${wrapped}\nafter\n`, large).lines)).toEqual(new Set(['[LARGE_7]', 'after']))
})

describe('B10 a secret', () => {
  test('over several lines is hidden in each of them', () => {
    expect(shown('it is p@ss/\nword\n+12 3 and more\n').lines).toEqual([
      'it is [DATABASE_URL]',
      '[DATABASE_URL]',
      '[DATABASE_URL] and more',
    ])
    const long = randomBytes(300).toString('hex')
    const wrapped = base64(long).replaceAll(/.{76}/g, '$&\n')
    const lines = shown(`${wrapped}\n`, new Mask({ LONG: long })).lines
    expect(new Set(lines)).toEqual(new Set(['[LONG]']))
  })

  test('with several lines is hidden with its short ones', () => {
    expect(shown(`${pem.join('\n')}\nZq==\n`).lines).toEqual([...pem.map(() => '[KEY]'), 'Zq=='])
  })

  test('that is half there keeps no line for long, and no line that ends otherwise at all', () => {
    expect(shown('a word\nnext\n').before).toEqual(['a word', 'next'])
    expect(shown('it is p@ss\n').before).toEqual([])
    expect(shown('it is p@ss\n').lines).toEqual(['it is p@ss'])
    expect(shown('it is p@ss\nor not\n').before).toEqual(['it is p@ss', 'or not'])
  })

  test('that follows another at once, over lines, is hidden too', () => {
    expect(shown(`${secret}p@ss/word\n+12 3p@ss/wo\nrd+12 3 end\n`).lines).toEqual([
      '[DATABASE_URL][DATABASE_URL]',
      '[DATABASE_URL][DATABASE_URL]',
      '[DATABASE_URL] end',
    ])
  })

  test('of any bytes, printed in pieces of any size, shows none of its pieces', () => {
    for (let round = 0; round < 200; round++) {
      const value = randomBytes(8 + (round % 60)).toString('base64')
      const size = 1 + (round % 7)
      const pieces = value.match(new RegExp(`.{1,${size + 4}}`, 'g')) ?? []
      const { lines } = shown(`${pieces.join('\n')}\n`, new Mask({ VALUE: value }))
      expect(lines, value).toEqual(pieces.map(() => '[VALUE]'))
    }
  })
})

test('B10: no more is held than what may be a beginning, and what is held is shown in its order', () => {
  const begun = shown(`first p@ss\nsecond p@ss\n\nthird\nfourth p@ss/word\n`)
  expect(begun.before).toEqual(['first p@ss', 'second p@ss', '', 'third'])
  expect(begun.lines.at(-1)).toBe('fourth p@ss/word')
  expect(shown(`${secret} and p@ss\n/word+12 3 after\n`).lines).toEqual([
    '[DATABASE_URL] and [DATABASE_URL]',
    '[DATABASE_URL] after',
  ])
})

test('B10: of a long secret the lines are hidden as they come, to its end, and what follows is shown', () => {
  const long = randomBytes(40_000).toString('hex')
  const masked = new Mask({ LONG: long })
  const wrapped = long.replaceAll(/.{70}/g, '$&\n')
  const { before, lines } = shown(`key: ${wrapped} END\nafter\n`, masked)
  expect(new Set(before.slice(1, -2))).toEqual(new Set(['[LONG]']))
  expect(before.slice(-2)).toEqual(['[LONG] END', 'after'])
  expect(lines).toEqual(before)
  // Cut off in the middle: a line that happens to begin as it would have gone on is shown.
  const next = long[140] ?? ''
  expect(shown(`${long.slice(0, 140)}\n${next}-other\n`, masked).lines).toEqual(['[LONG]', `${next}-other`])
})

test('B10: a text keeps what its lines are indented by, and hides what goes on over them', () => {
  expect(mask.text('it failed:\n  p@ss/\n    word+12 3\n  at a\n')).toEqual([
    'it failed:',
    '  [DATABASE_URL]',
    '    [DATABASE_URL]',
    '  at a',
    '',
  ])
  expect(mask.text(pem.map((line) => `  ${line}`).join('\n'))).toEqual(pem.map(() => '  [KEY]'))
})

test('B10: a value that becomes known later is hidden from then on, beside those before', () => {
  const growing = new Mask({ FIRST: 'correct-horse-battery' })
  const lines: string[] = []
  const stream = new MaskedStream(growing, (line) => lines.push(line))
  growing.hide({ DATABASE_URL: 'made-for-this-app' })
  for (const line of ['correct-horse-battery', 'made-for-this-app', 'made-for', '-this-app']) stream.push(line)
  stream.end()
  expect(lines).toEqual(['[FIRST]', '[DATABASE_URL]', '[DATABASE_URL]', '[DATABASE_URL]'])
})

test('B10: of many long values the lines of the first are hidden each, and all of them as a whole', () => {
  const list = (name: string) => Array.from({ length: 2_600 }, (_, at) => `${name}-line-number-${at}`).join('\n')
  const values = { FIRST: list('first'), SECOND: list('second'), PASSWORD: 'correct-horse-battery' }
  const many = new Mask(values)
  expect(many.line('first-line-number-2599')).toBe('[FIRST]')
  expect(many.line('correct-horse-battery')).toBe('[PASSWORD]')
  expect(new Set(many.lines(values.SECOND.split('\n')))).toEqual(new Set(['[SECOND]']))
  expect(secretForms(values).size).toBeLessThan(5_100)
})
