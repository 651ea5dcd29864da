import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { brotliDecompressSync, createGunzip, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cacheable, type Wish, wish } from '../../../test/support/cacheable.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'
import { codedHeaders, mayCompress } from './compression.ts'

test('text is compressed, and what is compressed already, or short, or not to be touched, is not', () => {
  const may = (...headers: string[]) => mayCompress(headers)
  for (const type of [
    'text/html; charset=utf-8',
    'application/json',
    'image/svg+xml',
    'application/ld+json',
    'TEXT/PLAIN',
  ])
    expect(may('Content-Type', type)).toBe(true)
  for (const type of ['image/png', 'text/event-stream', 'application/octet-stream', 'video/mp4', 'application/zip'])
    expect(may('content-type', type)).toBe(false)
  expect(may()).toBe(false)
  const html = ['content-type', 'text/html']
  expect(may(...html, 'content-length', '1023')).toBe(false)
  expect(may(...html, 'content-length', '1024')).toBe(true)
  expect(may(...html, 'cache-control', 'public, No-Transform')).toBe(false)
  expect(may(...html, 'content-encoding', 'gzip')).toBe(false)
  expect(may(...html, 'content-range', 'bytes 0-1/2')).toBe(false)
  expect(may(...html, 'repr-digest', 'sha-256=:AA==:')).toBe(false)
})

test('the headers of what was compressed speak of the compressed body', () => {
  const given = ['ETag', '"a"', 'Vary', 'Accept, Origin', 'Content-Length', '2000', 'Accept-Ranges', 'bytes', 'x', 'y']
  const weak = ['ETag', 'W/"a"', 'x', 'y', 'content-encoding', 'br', 'vary', 'Accept, Origin, accept-encoding']
  expect(codedHeaders(given, 'br', null)).toEqual(weak)
  expect(codedHeaders(['etag', 'W/"a"', 'vary', 'Accept-Encoding'], 'zstd', 7)).toEqual([
    ...['etag', 'W/"a"', 'content-encoding', 'zstd', 'vary', 'Accept-Encoding', 'content-length', '7'],
  ])
})

describe('at the edge', () => {
  let database: TestDatabase
  let edge: TestEdge
  let paths = 0

  beforeAll(async () => {
    database = await createDatabase()
    edge = await TestEdge.start(database.url)
    await edge.deploy('text', cacheable())
    await edge.deploy('fetches', {
      kind: 'fetch',
      server: { 'index.mjs': `export default { fetch: () => Response.json({ list: Array(1000).fill('entry') }) }` },
    })
  })

  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]()
    await database?.[Symbol.asyncDispose]()
  })

  const html = { 'content-type': 'text/html' }
  const get = (wished: Wish, accepted?: string, more: { method?: string; headers?: Record<string, string> } = {}) => {
    const headers = { ...(accepted === undefined ? {} : { 'accept-encoding': accepted }), ...more.headers }
    return edge.ask('text', wish(`/c${++paths}`, wished), { ...more, headers })
  }
  const plain = 'a line of text\n'.repeat(1_000)
  const page: Wish = { headers: { ...html, etag: '"v1"', vary: 'Accept' }, body: 'a line of text\n', times: 1_000 }

  test.each([
    ['gzip', gunzipSync],
    ['br', brotliDecompressSync],
    ['zstd', zstdDecompressSync],
  ] as const)('a page is sent as %s to those who take that', async (coding, decompress) => {
    const { headers, bytes } = await get(page, coding)
    expect(headers).toMatchObject({ 'content-encoding': coding, vary: 'Accept, accept-encoding', etag: 'W/"v1"' })
    expect(Number(headers['content-length'] ?? bytes.length)).toBe(bytes.length)
    expect(bytes.length).toBeLessThan(2_000)
    expect(decompress(bytes).toString()).toBe(plain)
  })

  test('an answer that is there whole is sent with its length', async () => {
    const { headers, bytes } = await edge.ask('fetches', '/', { headers: { 'accept-encoding': 'gzip' } })
    expect(headers).toMatchObject({ 'content-encoding': 'gzip', 'content-length': String(bytes.length) })
    expect(JSON.parse(gunzipSync(bytes).toString()).list).toHaveLength(1_000)
  })

  test('who says nothing, refuses, or asks for a part gets the bytes as they are', async () => {
    for (const accepted of [undefined, 'identity', 'gzip;q=0', 'gzip;q=0.1, identity;q=1', 'deflate']) {
      const { headers, body } = await get(page, accepted)
      expect(headers).not.toHaveProperty('content-encoding')
      expect(headers).toMatchObject({ etag: '"v1"', 'content-length': String(plain.length) })
      expect(body).toBe(plain)
    }
    const part = await get(page, 'gzip', { headers: { range: 'bytes=0-3' } })
    expect(part.headers).not.toHaveProperty('content-encoding')
  })

  test('what the app has compressed itself is left as it is', async () => {
    const { headers, body } = await get({ ...page, headers: { ...html, 'content-encoding': 'x-own' } }, 'gzip')
    expect(headers['content-encoding']).toBe('x-own')
    expect(body).toBe(plain)
  })

  test('HEAD has the headers that GET would have', async () => {
    const [get1, head] = [await get(page, 'br'), await get(page, 'br', { method: 'HEAD' })]
    for (const name of ['content-encoding', 'vary', 'etag', 'content-type'])
      expect(head.headers[name]).toBe(get1.headers[name])
    expect(head.headers).not.toHaveProperty('content-length')
    expect(head.bytes).toHaveLength(0)
  })

  test.each(['gzip', 'br', 'zstd'])('a page in pieces still comes in pieces as %s', async (coding) => {
    const target = wish(`/c${++paths}`, { headers: html, body: 'x'.repeat(500), times: 10, pieces: 500, pause: 200 })
    const response = await open(target, coding)
    const [first] = await once(response, 'data')
    const firstAt = performance.now()
    expect((first as Buffer).length).toBeGreaterThan(0)
    response.resume()
    await once(response, 'end')
    expect(performance.now() - firstAt).toBeGreaterThan(500)
  })

  test('the first piece can be read before the second is there', async () => {
    const target = wish(`/c${++paths}`, { headers: html, body: 'x'.repeat(500), times: 10, pieces: 500, pause: 300 })
    const unpacked = (await open(target, 'gzip')).pipe(createGunzip())
    const [first] = await once(unpacked, 'data')
    expect(String(first)).toBe('x'.repeat(500))
    unpacked.destroy()
  })

  test('an event stream is not touched', async () => {
    const { headers } = await get(
      { headers: { 'content-type': 'text/event-stream' }, body: 'data: x\n\n', times: 500 },
      'gzip',
    )
    expect(headers).not.toHaveProperty('content-encoding')
  })

  test('a body that is cut is cut for who takes it compressed, too', async () => {
    const cut = get(
      { headers: { ...html, 'content-length': '15000' }, body: plain.slice(0, 5_000), cutAt: 4_000 },
      'gzip',
    )
    await expect(cut).rejects.toThrow()
  })

  test('a cached page is kept in each form that is asked for, made once', async () => {
    const target = wish(`/c${++paths}`, { ...page, headers: { ...page.headers, 'cache-control': 's-maxage=60' } })
    const ask = (accepted: string) => edge.ask('text', target, { headers: { 'accept-encoding': accepted } })
    const first = await ask('br')
    expect(first.headers).toMatchObject({ 'x-atelier-cache': 'miss', 'content-encoding': 'br' })
    for (const coding of ['br', 'zstd', 'gzip'])
      await expect
        .poll(async () => (await ask(coding)).headers)
        .toMatchObject({
          'x-atelier-cache': 'hit',
          'content-encoding': coding,
          etag: 'W/"v1"',
          vary: 'Accept, accept-encoding',
        })
    const { headers, bytes } = await ask('gzip, br')
    expect(headers).toMatchObject({ 'content-encoding': 'br', 'content-length': String(bytes.length) })
    expect(brotliDecompressSync(bytes).toString()).toBe(plain)
    const whole = await ask('identity')
    expect(whole.headers).toMatchObject({
      etag: '"v1"',
      vary: 'Accept, accept-encoding',
      'content-length': String(plain.length),
    })
    expect(
      (await edge.ask('text', target, { headers: { 'accept-encoding': 'br', 'if-none-match': 'W/"v1"' } })).status,
    ).toBe(304)
  })

  test('an app that compresses by itself is asked for the plain form of what is kept', async () => {
    const headers = { ...html, 'content-encoding': 'x-own', 'cache-control': 's-maxage=60' }
    const target = wish(`/c${++paths}`, { ...page, headers })
    for (let turn = 0; turn < 3; turn++)
      expect(
        (await edge.ask('text', target, { headers: { 'accept-encoding': 'gzip' } })).headers['x-atelier-cache'],
      ).not.toBe('hit')
  })

  async function open(target: string, accepted: string): Promise<IncomingMessage> {
    const headers = { host: edge.hostOf('text'), 'accept-encoding': accepted }
    const asked = httpRequest({ host: '127.0.0.1', port: edge.port, path: target, agent: false, headers })
    asked.end()
    return (await once(asked, 'response'))[0]
  }
})
