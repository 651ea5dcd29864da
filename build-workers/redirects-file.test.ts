import { expect, test } from 'vitest'
import { readRedirectsFile } from './redirects-file.ts'

const read = (text: string) => readRedirectsFile(Buffer.from(text))

test('from, to, status, force, comments and defaults', () => {
  const { rules, leftOut } = read(
    [
      '# moved',
      '/old /new',
      '/blog/:year/*   https://blog.example.com:8080/:year/:splat  301!   # for good',
      '/app/* /app/index.html 200',
      '/gone /404.html 404',
      '/é /caf%C3%A9?a=:b 308',
      '/x /new#part 303',
    ].join('\n'),
  )
  expect(leftOut).toEqual([{ line: 6, why: ':b is not in a path without placeholders' }])
  expect(rules).toEqual([
    { line: 2, from: '/old', to: '/new', status: 302, force: false },
    { line: 3, from: '/blog/:year/*', to: 'https://blog.example.com:8080/:year/:splat', status: 301, force: true },
    { line: 4, from: '/app/*', to: '/app/index.html', status: 200, force: false },
    { line: 5, from: '/gone', to: '/404.html', status: 404, force: false },
    { line: 7, from: '/x', to: '/new#part', status: 303, force: false },
  ])
})

test.each([
  ['/a', 'it does not say where to: from, to, status'],
  ['/a /b 418', 'the status 418 is not one of 200, 301, 302, 303, 307, 308, 404'],
  ['/a /b Country=us', 'Country=us is no status: conditions and the like are not supported'],
  ['/a /b 301 Country=us', 'conditions (Country=us) are not supported'],
  ['/a id=:id /b', 'matching the query (id=:id) is not supported'],
  ['https://example.com/a /b', 'rules for one host are not supported: write the path alone'],
  ['/a https://example.com/ 200', '200 answers with a file of this site; to send people elsewhere use 302'],
  ['/a /a 301', 'it leads to itself'],
  ['/a /b/* 301', 'a target names what * stands for as :splat'],
  ['/a javascript:alert(1)', 'a target is a path, or a URL with https://'],
  ['/a /b%ff', 'a target is encoded in UTF-8'],
  ['/*/* /b', 'a path holds one * at most'],
  ['/(a+)+$ /b 999', 'the status 999 is not one of 200, 301, 302, 303, 307, 308, 404'],
  ['a /b', 'a path starts with /'],
  [`/${'a'.repeat(5000)} /b`, 'it is longer than 4000 characters'],
  ['/a /b\u0001', 'it holds a control character'],
])('%s is left out, and the line is named', (line, why) => {
  const { rules, leftOut } = read(`/first /x\n${line}\n/last /y`)
  expect(leftOut).toEqual([{ line: 2, why }])
  expect(rules.map(({ from }) => from)).toEqual(['/first', '/last'])
})

test.each([
  '/a //evil.com',
  '/a /\\evil.com',
  '/x/* https://example.com:splat',
  '/x/* https://:splat/',
  '/x/* https://example.com:splat/a',
  '/x/* //:splat',
  '/x/* https://user@example.com/',
  '/x/* https://',
])('E10: %s, which could lead to a host of the visitor, is left out', (line) => {
  expect(read(line)).toMatchObject({ rules: [], leftOut: [{ line: 1 }] })
})

test('the first rule for a path is the one', () => {
  expect(read('/a /b\n/c /d\n/a/ /e').leftOut).toEqual([{ line: 3, why: '/a/ has its rule in line 1' }])
})

test('a hundred thousand rules are refused in a sentence', () => {
  const many = (line: (n: number) => string) => Array.from({ length: 100_000 }, (_, n) => line(n)).join('\n')
  expect(() => read(many((n) => `/${n} /x`))).toThrow('_redirects holds more than 10000 rules')
  expect(() => read(many((n) => `/${n}/* /x`))).toThrow('_redirects holds more than 500 rules with * or :name')
})
