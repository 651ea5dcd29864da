import { expect, test } from 'vitest'
import { readHeadersFile } from './headers-file.ts'

const read = (text: string) => readHeadersFile(Buffer.from(text))

test('paths, headers below them, comments, and ! for what an earlier rule has set', () => {
  const { rules, leftOut } = read(
    [
      '# everything',
      '/*',
      '  X-Frame-Options: DENY',
      '  Link: </a.css>; rel=preload',
      '',
      '/embed/:id\r',
      '\t! X-Frame-Options',
      'Content-Security-Policy: frame-ancestors https://example.com:8080',
      '/nothing',
    ].join('\n'),
  )
  expect(leftOut).toEqual([])
  expect(rules).toEqual([
    {
      path: '/*',
      set: [
        ['X-Frame-Options', 'DENY'],
        ['Link', '</a.css>; rel=preload'],
      ],
      unset: [],
    },
    {
      path: '/embed/:id',
      set: [['Content-Security-Policy', 'frame-ancestors https://example.com:8080']],
      unset: ['X-Frame-Options'],
    },
  ])
})

test.each([
  ['Content-Length: 3', 'Content-Length says how the response is sent, which the platform does'],
  ['transfer-encoding: chunked', 'transfer-encoding says how the response is sent, which the platform does'],
  ['Connection: X', 'Connection says how the response is sent, which the platform does'],
  ['Content-Encoding: gzip', 'Content-Encoding says how the response is sent, which the platform does'],
  ['X-Atelier-Deployment: 1', 'X-Atelier-Deployment is set by the platform'],
  ['ETag: "a"', 'ETag is set by the platform'],
  ['Set-Cookie: a=b; Domain=apps.localhost', 'Set-Cookie with a Domain would reach other apps: leave Domain out'],
  ['Set-Cookie: a=b;DOMAIN =x', 'Set-Cookie with a Domain would reach other apps: leave Domain out'],
  ['Basic-Auth: me:secret', 'Basic-Auth would tell everybody the password: it is not supported as a lock'],
  ['X-Name: grüße', 'X-Name has a value that is not plain ASCII'],
  ['X Name: a', '"X Name" is no header name'],
  ['X-A: a\u0000b', 'it holds a control character'],
  ['nonsense', 'it is neither a path nor `Name: value`'],
  ['https://example.com/x', 'rules for one host are not supported: write the path alone'],
  [`X-Long: ${'x'.repeat(2001)}`, 'X-Long has a value longer than 2000 characters'],
])('%s is left out, and the line is named', (line, why) => {
  const { rules, leftOut } = read(`/a\n  X-Ok: 1\n${line}\n/b\n  X-Ok: 2`)
  expect(leftOut).toEqual([{ line: 3, why }])
  expect(rules.map(({ path, set }) => [path, set])).toEqual([
    ['/a', [['X-Ok', '1']]],
    ['/b', [['X-Ok', '2']]],
  ])
})

test('a carriage return ends a line, and so cannot hide a header in a value', () => {
  expect(read('/a\n  X-A: 1\rSet-Cookie: a=b; Domain=x').leftOut).toMatchObject([{ line: 3 }])
})

test('headers below a path that cannot be read are not given to the path before it', () => {
  const { rules, leftOut } = read('/a\n  X-A: 1\n/*/*\n  X-B: 1')
  expect(rules).toHaveLength(1)
  expect(rules[0]?.set).toEqual([['X-A', '1']])
  expect(leftOut.map(({ line }) => line)).toEqual([3, 4])
})

test('a hundred thousand rules, and bytes that are no text, are refused in a sentence', () => {
  expect(() => read(Array.from({ length: 100_000 }, (_, n) => `/${n}\n X-A: 1`).join('\n'))).toThrow(
    '_headers holds more than 500 rules',
  )
  expect(() => readHeadersFile(Buffer.from([0xff, 0xfe, 0x00]))).toThrow('_headers is not text in UTF-8')
})
