import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HttpHead, HttpReader, MalformedResponse } from './http-reader.ts'
import { readResponseHead } from './response-head.ts'

type Read = { status: number; reason: string; pairs: string[]; body: string; trailers: string[] }

// What node:http makes of the same bytes is the yardstick.
let server: Server
let path = ''
let said = ''

beforeAll(async () => {
  path = join(await mkdtemp(join(tmpdir(), 'atl-')), 's')
  server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(said, 'latin1'))
  })
  await once(server.listen(path), 'listening')
})

afterAll(async () => {
  server.close()
  await rm(join(path, '..'), { recursive: true })
})

async function readByNode(bytes: string, method: string): Promise<Read | null> {
  said = bytes
  const asked = request({ socketPath: path, method, agent: false })
  asked.on('upgrade', (_response, socket) => socket.destroy(new Error('upgraded')))
  asked.on('error', () => undefined)
  asked.end()
  try {
    const [response] = await once(asked, 'response')
    const body = (await buffer(response)).toString('latin1')
    const { statusCode, statusMessage, rawHeaders, rawTrailers } = response
    return { status: statusCode, reason: statusMessage, pairs: rawHeaders, body, trailers: rawTrailers }
  } catch {
    return null
  }
}

/** Null: refused, by the reader or by those who look at what it has read. Cuts are sorted places in the bytes. */
function read(bytes: string, { method = 'GET', cuts = [] }: { method?: string; cuts?: number[] } = {}): Read | null {
  let head: HttpHead | null = null
  let result: Read | null = null
  const chunks: Buffer[] = []
  const end = (trailers: string[]) => {
    if (head) result = { ...headOf(head), body: Buffer.concat(chunks).toString('latin1'), trailers }
  }
  const reader = new HttpReader({
    interim: () => undefined,
    whole(whole, body, trailers) {
      head = whole
      chunks.push(Buffer.from(body))
      end(trailers)
    },
    begun(begun) {
      head = begun
    },
    data: (chunk) => void chunks.push(Buffer.from(chunk)),
    ended: end,
  })
  reader.expect(method)
  const whole = Buffer.from(bytes, 'latin1')
  try {
    let from = 0
    for (const to of [...cuts, whole.length]) {
      // A reader that keeps a slice of what it was given would see it change.
      const piece = Buffer.from(whole.subarray(from, to))
      reader.push(piece)
      piece.fill(0x58)
      from = Math.max(from, to)
    }
    reader.finish()
  } catch (thrown) {
    if (!(thrown instanceof MalformedResponse)) throw thrown
    return null
  }
  return result && !('invalid' in readResponseHead(result, { cookieSuffix: '' })) ? result : null
}

function headOf({ status, reason, pairs }: HttpHead): Pick<Read, 'status' | 'reason' | 'pairs'> {
  return { status, reason, pairs }
}

const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/).map((text) => `x-${text}`)
const value = fc.stringMatching(/^(?:[!-~](?:[ -~]{0,20}[!-~])?)?$/)
const body = fc.string({ maxLength: 60 }).map((text) => Buffer.from(text, 'utf8').toString('latin1'))
const fields = fc.array(fc.tuple(name, fc.constantFrom('', ' ', '\t '), value, fc.constantFrom('', ' ')), {
  maxLength: 5,
})
const interim = fc.array(fc.constantFrom('HTTP/1.1 100 Continue', 'HTTP/1.1 103 Early Hints\r\nlink: </a>'), {
  maxLength: 3,
})
const framed = fc.oneof(
  body.map((text) => ({ head: `Content-Length: ${text.length}\r\n`, text })),
  fc.tuple(fc.array(body, { maxLength: 4 }), fields).map(([parts, trailers]) => ({
    head: 'transfer-encoding: Chunked\r\n',
    text: `${parts
      .filter((part) => part !== '')
      .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
      .join('')}0\r\n${linesOf(trailers)}\r\n`,
  })),
  body.map((text) => ({ head: '', text })),
)
const response = fc
  .record({
    ...{ interim, fields, framed, status: fc.integer({ min: 200, max: 599 }), reason: value },
    ...{ version: fc.constantFrom('1.1', '1.1', '1.0'), isEmpty: fc.boolean() },
  })
  .filter(
    ({ framed: { head }, version, status }) =>
      status !== 204 && status !== 304 && !(head.startsWith('t') && version === '1.0'),
  )
  .map(
    ({ interim: before, fields: after, framed: { head, text }, status, reason, version }) =>
      `${before.map((lines) => `${lines}\r\n\r\n`).join('')}HTTP/${version} ${status} ${reason}\r\n${linesOf(after)}${head}\r\n${text}`,
  )

function linesOf(pairs: [string, string, string, string][]): string {
  return pairs.map(([key, before, text, after]) => `${key}:${before}${text}${after}\r\n`).join('')
}

describe('a response', () => {
  test('is read as node:http reads it, however it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(response, fc.array(fc.nat(400), { maxLength: 8 }), async (bytes, places) => {
        const cuts = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b)
        const ours = read(bytes, { cuts })
        expect(ours).not.toBeNull()
        expect(ours).toEqual(await readByNode(bytes, 'GET'))
      }),
      { numRuns: 400 },
    )
  })

  test('that is broken somewhere is refused, or read as node:http reads it', async () => {
    const breaks = fc.array(
      fc.record({
        place: fc.nat(400),
        remove: fc.nat(2),
        insert: fc.constantFrom(
          '',
          '\r',
          '\n',
          '\r\n',
          ' ',
          '\t',
          ':',
          ';',
          ',',
          '0',
          'a',
          '\0',
          '\x80',
          'Content-Length: 3\r\n',
          'Transfer-Encoding: chunked\r\n',
          '\r\n\r\n',
        ),
      }),
      { minLength: 1, maxLength: 2 },
    )
    let accepted = 0
    let refused = 0
    await fc.assert(
      fc.asyncProperty(response, breaks, async (whole, places) => {
        let bytes = whole
        for (const { place, remove, insert } of places) {
          const at = place % (bytes.length + 1)
          bytes = bytes.slice(0, at) + insert + bytes.slice(at + remove)
        }
        const ours = read(bytes)
        if (!ours) return void refused++
        accepted++
        expect(ours).toEqual(await readByNode(bytes, 'GET'))
      }),
      { numRuns: 2_000 },
    )
    expect(accepted).toBeGreaterThan(100)
    expect(refused).toBeGreaterThan(100)
  })

  test.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n'],
    ['HEAD', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n'],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
  ])('to %s like %j has no body', async (method, bytes) => {
    expect(read(bytes, { method })).toMatchObject({ body: '' })
    expect(read(bytes, { method })).toEqual(await readByNode(bytes, method))
    expect(read(`${bytes}more`, { method })).toBeNull()
  })

  test.each([
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n',
    'HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\n: a\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\ncontent-length: 2\n\nok',
    'HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(20)}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`,
    `${`HTTP/1.1 103 Early Hints\r\nlink: ${'a'.repeat(9_000)}\r\n\r\n`.repeat(8)}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(70_000)}\r\ncontent-length: 0\r\n\r\n`,
    'ICY 200 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok',
  ])('like %j is refused', (bytes) => {
    expect(read(bytes)).toBeNull()
    expect(read(bytes, { cuts: [...bytes.slice(0, 200)].map((_, index) => index) })).toBeNull()
  })

  test('says whether its connection goes on', () => {
    const heads: HttpHead[] = []
    const take = (head: HttpHead) => void heads.push(head)
    for (const text of [
      'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\nKeep-Alive: timeout=7, max=2\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 200 OK\r\n\r\nuntil the end',
    ]) {
      const ignore = () => undefined
      const reader = new HttpReader({ interim: ignore, whole: take, begun: take, data: ignore, ended: ignore })
      reader.expect('GET')
      reader.push(Buffer.from(text, 'latin1'))
    }
    expect(heads.map(({ isKeptAlive }) => isKeptAlive)).toEqual([true, false, false, false, true, false])
    expect(heads.map(({ idleSec }) => idleSec)).toEqual([null, null, null, null, 7, null])
  })
})
