import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { type Recorded, recorders } from '../../test/support/recorder.ts'

let database: TestDatabase
let edge: TestEdge

const kinds = ['server', 'process', 'fetch'] as const
type Kind = (typeof kinds)[number]
const methods = ['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'PUT', 'PATCH']

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await Promise.all(kinds.map((kind) => edge.deploy(kind, recorders[kind])))
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

// What every body is made of: a request that nobody sent.
const inner = (kind: Kind, id: string) => `GET /${id}/smuggled HTTP/1.1\r\nHost: ${kind}.apps.localhost\r\n\r\n`
const chunk = (text: string, size = text.length.toString(16)) => `${size}\r\n${text}\r\n`
const last = '0\r\n\r\n'

type Framing = { lines: (body: string) => string[]; wire: (body: string) => string; version?: string; end?: string }
const chunked = (...lines: string[]): Framing => ({ lines: () => lines, wire: (body) => chunk(body) + last })
const counted = (lines: (length: number) => string[]): Framing => ({
  lines: (body) => lines(body.length),
  wire: (body) => body,
})
const te = 'Transfer-Encoding: chunked'

/** One request, in any framing that can be read in one way. */
const clear: Record<string, Framing> = {
  'no body': { lines: () => [], wire: () => '' },
  'content-length': counted((length) => [`Content-Length: ${length}`]),
  'content-length of nothing': { lines: () => ['Content-Length: 0'], wire: () => '' },
  'content-length with spaces and tabs around it': counted((length) => [`Content-Length: \t ${length} \t`]),
  chunked: chunked(te),
  'chunked, in other letters': chunked('tRANSFER-eNCODING: cHUNKED'),
  'chunked behind a tab': chunked('Transfer-Encoding:\tchunked'),
  'one byte a chunk': { lines: () => [te], wire: (body) => [...body].map((byte) => chunk(byte)).join('') + last },
  'chunks with extensions': {
    lines: () => [te],
    wire: (body) => `${chunk(body, `${body.length.toString(16)};a=b;c="d"`)}${last}`,
  },
  'a chunk size with zeros before it': {
    lines: () => [te],
    wire: (body) => chunk(body, `000${body.length.toString(16)}`) + last,
  },
  trailers: {
    lines: () => [te, 'Trailer: X-Sum'],
    wire: (body) => `${chunk(body)}0\r\nX-Sum: 5\r\nHost: evil.com\r\n\r\n`,
  },
  'Expect: 100-continue with a length': counted((length) => [`Content-Length: ${length}`, 'Expect: 100-continue']),
  'Expect: 100-continue, chunked': chunked(te, 'Expect: 100-continue'),
  'a name that is almost Content-Length': counted((length) => [
    `Content-Length: ${length}`,
    'Content_Length: 3',
    'Transfer_Encoding: chunked',
  ]),
}

/** What two readers may read in two ways: one answer, 400, and nothing of it at the app. */
const ambiguous: Record<string, Framing> = {
  'a length and chunks': chunked('Content-Length: 4', te),
  'chunks and a length': chunked(te, 'Content-Length: 4'),
  'two lengths': counted((length) => [`Content-Length: ${length}`, 'Content-Length: 3']),
  'the same length twice': counted((length) => [`Content-Length: ${length}`, `Content-Length: ${length}`]),
  'the same length twice in one line': counted((length) => [`Content-Length: ${length}, ${length}`]),
  'a length with a sign': counted((length) => [`Content-Length: +${length}`]),
  'a length below nothing': counted(() => ['Content-Length: -1']),
  'a length in hexadecimal': counted((length) => [`Content-Length: 0x${length.toString(16)}`]),
  'a length of two words': counted((length) => [`Content-Length: ${length} 3`]),
  'an empty length': counted(() => ['Content-Length:']),
  'a length above all numbers': counted(() => [`Content-Length: ${'9'.repeat(30)}`]),
  xchunked: chunked('Transfer-Encoding: xchunked'),
  chunkedx: chunked('Transfer-Encoding: chunkedx'),
  identity: chunked('Transfer-Encoding: identity'),
  'chunked, chunked': chunked('Transfer-Encoding: chunked, chunked'),
  'chunked, identity': chunked('Transfer-Encoding: chunked, identity'),
  'identity, chunked': chunked('Transfer-Encoding: identity, chunked'),
  'gzip, chunked': chunked('Transfer-Encoding: gzip, chunked'),
  'chunked twice': chunked(te, te),
  'identity in a line before chunked': chunked('Transfer-Encoding: identity', te),
  'identity in a line after chunked': chunked(te, 'Transfer-Encoding: identity'),
  'an empty coding': chunked('Transfer-Encoding:'),
  'chunked in quotes': chunked('Transfer-Encoding: "chunked"'),
  'a space before the colon': chunked('Transfer-Encoding : chunked'),
  'a tab before the colon': chunked('Transfer-Encoding\t: chunked'),
  'a space before the name': chunked('X: y', ' Transfer-Encoding: chunked'),
  'a vertical tab before the coding': chunked('Transfer-Encoding: \x0bchunked'),
  'a NUL behind the coding': chunked('Transfer-Encoding: chunked\0'),
  'a folded coding': chunked('Transfer-Encoding:', ' chunked'),
  'a carriage return inside a line': chunked('X: a\rTransfer-Encoding: chunked'),
  'a line that ends in a line feed only': chunked('X: a\nTransfer-Encoding: chunked'),
  'line feeds only': { ...chunked(te), end: '\n' },
  'a line without a colon': chunked('Transfer-Encoding chunked'),
  'chunks in HTTP/1.0': { ...chunked(te), version: '1.0' },
  'HTTP/1.2': { ...chunked(te), version: '1.2' },
  'HTTP/2.0': { ...chunked(te), version: '2.0' },
}

/** Heads that are clear with bodies that are not: the app has the head by then, and never gets a whole request. */
const torn: Record<string, (body: string) => string> = {
  'a chunk size that is no number': (body) => chunk(body, 'zz') + last,
  'a chunk size with a sign': (body) => chunk(body, `+${body.length.toString(16)}`) + last,
  'a chunk size below nothing': (body) => chunk(body, '-1') + last,
  'a chunk size with 0x': (body) => chunk(body, `0x${body.length.toString(16)}`) + last,
  'a chunk size with a space before it': (body) => chunk(body, ` ${body.length.toString(16)}`) + last,
  'a chunk size above all numbers': (body) => chunk(body, 'f'.repeat(17)) + last,
  'an empty chunk size': (body) => chunk(body, '') + last,
  'a chunk longer than its size': (body) => chunk(body, '3') + last,
  'a chunk that ends in a line feed only': (body) => `${body.length.toString(16)}\r\n${body}\n${last}`,
  'a chunk size that ends in a line feed only': (body) => `${body.length.toString(16)}\n${body}\r\n${last}`,
  'an extension that never ends': (body) => chunk(body, `${body.length.toString(16)};${'a'.repeat(70_000)}`) + last,
  'a trailer that frames': (body) => `${chunk(body)}0\r\nContent-Length: 5\r\n\r\n`,
  'a trailer that names a coding': (body) => `${chunk(body)}0\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'a trailer with a space before its colon': (body) => `${chunk(body)}0\r\nX : y\r\n\r\n`,
}

let asked = 0

type Outcome = { method: string; answers: string[]; seen: Recorded[]; length: number }

/** Each method, on a connection that is kept and on one that is not; another request follows at once on the same connection. */
async function sendAll(
  kind: Kind,
  { lines, wire, version = '1.1', end = '\r\n' }: Framing,
): Promise<(Outcome & { isKept: boolean })[]> {
  const cases = methods.flatMap((method) => [true, false].map((isKept) => ({ method, isKept })))
  return Promise.all(
    cases.map(async ({ method, isKept }) => {
      const id = `n${++asked}`
      const host = `Host: ${kind}.apps.localhost`
      const body = inner(kind, id)
      const head = [
        `${method} /${id}/one HTTP/${version}`,
        host,
        ...(isKept ? [] : ['Connection: close']),
        ...lines(body),
      ]
      const next = [`GET /${id}/next HTTP/1.1`, host, 'Connection: close', '', ''].join('\r\n')
      const answer = await edge.raw(`${head.join(end)}${end}${end}${wire(body)}${next}`)
      const seen: Recorded[] = JSON.parse((await edge.ask(kind, `/seen/${id}/`)).body)
      return {
        method,
        isKept,
        answers: answer.match(/HTTP\/1\.1 \d{3}/g) ?? [],
        seen,
        length: wire(body) === '' ? 0 : body.length,
      }
    }),
  )
}

describe.each(kinds)('an app of kind %s', (kind) => {
  // Of a GET with a body a fetch app is given none: a standard Request has no such thing.
  const hasBody = (method: string) => kind !== 'fetch' || (method !== 'GET' && method !== 'HEAD')

  test.each(Object.entries(clear))(
    'E1: gets one request for one sent with %s, by each method',
    async (_name, framing) => {
      for (const { method, isKept, answers, seen, length } of await sendAll(kind, framing)) {
        expect([method, isKept, answers.filter((line) => line !== 'HTTP/1.1 100')]).toEqual([
          method,
          isKept,
          isKept ? ['HTTP/1.1 200', 'HTTP/1.1 200'] : ['HTTP/1.1 200'],
        ])
        const sent = isKept ? ['next', 'one'] : ['one']
        expect(seen.map(({ line }) => line.split(' ')[1]?.split('/')[2]).sort()).toEqual(sent)
        expect(seen.every(({ isWhole }) => isWhole)).toBe(true)
        const one = seen.find(({ line }) => line.includes('/one '))
        if (hasBody(method)) expect(one).toMatchObject({ bytes: length })
      }
    },
  )

  test.each(Object.entries(ambiguous))(
    'E1: gets nothing of a request with %s: 400, and the connection is closed',
    async (_name, framing) => {
      for (const { method, isKept, answers, seen } of await sendAll(kind, framing))
        expect({ method, isKept, answers, seen }).toEqual({ method, isKept, answers: ['HTTP/1.1 400'], seen: [] })
    },
  )

  test.each(Object.entries(torn))(
    'E1: gets no whole request out of %s, and no other behind it',
    async (_name, wire) => {
      for (const { method, answers, seen } of await sendAll(kind, { lines: () => [te], wire })) {
        expect(answers.filter((line) => !/ (400|413|502)$/.test(line)).map((line) => [method, line])).toEqual([])
        expect(answers.length).toBeLessThanOrEqual(1)
        expect(seen.filter(({ line, isWhole }) => (isWhole && hasBody(method)) || !line.includes('/one '))).toEqual([])
      }
    },
  )
})
