import { createHash } from 'node:crypto'
import { type EventEmitter, once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from './database.ts'
import { TestEdge } from './edge.ts'
import { FixtureApps } from './fixture-app.ts'
import { builtNext } from './next-app.ts'

// One contract for every way to write an app: the packages people use, as npm has them, through the whole edge.
const nestOptional = ['@nestjs/websockets', '@nestjs/microservices', 'class-validator', 'class-transformer']
const frameworks = {
  'node-http': { kind: 'server', file: 'node-http.mjs', optional: [] },
  express: { kind: 'server', file: 'express.mjs', optional: [] },
  fastify: { kind: 'server', file: 'fastify.mjs', optional: [] },
  koa: { kind: 'server', file: 'koa.mjs', optional: [] },
  nest: { kind: 'server', file: 'nest.mjs', optional: nestOptional },
  'hono-server': { kind: 'server', file: 'hono-node-server.mjs', optional: [] },
  next: { kind: 'server', file: null, optional: [] },
  'hono-fetch': { kind: 'fetch', file: 'hono-app.mjs', optional: [] },
} as const
const names = Object.keys(frameworks) as (keyof typeof frameworks)[]
// What of the package `ws` is used here.
type Client = EventEmitter<{ message: [Buffer]; open: []; error: [Error] }> & {
  send(data: string | Buffer): void
  close(): void
}
type Ws = { WebSocket: new (url: string, options: { headers: Record<string, string> }) => Client }

/** Describes and tests all of them; `megabytes` go up and come down as one body. */
export function testFrameworks({ megabytes }: { megabytes: number }): void {
  let ws: Ws
  let database: TestDatabase
  let edge: TestEdge

  beforeAll(async () => {
    const apps = await FixtureApps.open('frameworks')
    ws = apps.load('ws') as Ws
    database = await createDatabase()
    edge = await TestEdge.start(database.url)
    for (const name of names) {
      const { kind, file, optional } = frameworks[name]
      if (file === null) {
        await edge.deploy(name, await builtNext())
        continue
      }
      const entry = kind === 'fetch' ? 'index.mjs' : 'index.cjs'
      const code = await apps.bundle(file, kind === 'fetch' ? 'esm' : 'cjs', [...optional])
      await edge.deploy(name, { kind, server: { [entry]: code } })
    }
  }, 900_000)

  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]()
    await database?.[Symbol.asyncDispose]()
  })

  const lines = (app: string, ...all: string[]) =>
    [...all, `Host: ${app}.apps.localhost`, 'Connection: close', '', ''].join('\r\n')
  const get = (app: string, path: string) => edge.raw(lines(app, `GET ${path} HTTP/1.1`))
  const state = async (app: string): Promise<{ open: number; aborted: number }> =>
    JSON.parse((await edge.ask(app, '/state')).body)

  function send(
    app: string,
    path: string,
    { method = 'GET', headers = {}, agent }: { method?: string; headers?: Record<string, string>; agent?: Agent } = {},
  ) {
    return httpRequest({
      ...{ host: '127.0.0.1', port: edge.port, path, method, agent: agent ?? false },
      headers: { host: `${app}.apps.localhost`, ...headers },
    })
  }
  const answerTo = async (sent: ReturnType<typeof send>): Promise<IncomingMessage> => (await once(sent, 'response'))[0]

  function* pattern(bytes: number): Generator<Buffer> {
    for (let at = 0; at < bytes; at += 65_536) yield Buffer.alloc(Math.min(65_536, bytes - at), `${at} `)
  }
  async function digest(stream: AsyncIterable<Buffer>): Promise<{ bytes: number; sha256: string }> {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of stream) {
      hash.update(chunk)
      bytes += chunk.length
    }
    return { bytes, sha256: hash.digest('hex') }
  }

  describe.each(names)('%s', (app) => {
    // Handlers that are given a standard Request and return a standard Response, whatever carries these.
    const isStandard = frameworks[app].kind === 'fetch' || app === 'hono-server' || app === 'next'
    const hasWords = frameworks[app].kind === 'server' && app !== 'next'

    test('JSON has its type and length, and HEAD the same without a body', async () => {
      const whole = await edge.ask(app, '/json')
      expect(whole).toMatchObject({
        status: 200,
        headers: { 'content-type': expect.stringMatching(/^application\/json/) },
      })
      expect(JSON.parse(whole.body)).toEqual({ hello: 'world' })
      const head = await edge.ask(app, '/json', { method: 'HEAD' })
      expect(head).toMatchObject({ status: 200, body: '', headers: { 'content-type': whole.headers['content-type'] } })
      const raw = await edge.raw(lines(app, 'HEAD /json HTTP/1.1'))
      expect(raw).toMatch(/\r\n\r\n$/)
    })

    test('204 and 304 have no body and say no length', async () => {
      for (const [path, status] of [
        ['/empty', '204 No Content'],
        ['/not-modified', '304 Not Modified'],
      ] as const) {
        const answer = await get(app, path)
        expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status}\r\n`))
        expect(answer).toMatch(/\r\n\r\n$/)
        expect(answer).not.toMatch(/\r\n(content-length: [1-9]|transfer-encoding:)/i)
      }
      expect(await get(app, '/not-modified')).toMatch(/\r\netag: "v1"\r\n/i)
    })

    test('several cookies stay several, as they were set', async () => {
      expect((await edge.ask(app, '/cookies')).headers['set-cookie']).toEqual([
        'a=1; Path=/; HttpOnly',
        'b=2; Path=/; Expires=Wed, 21 Oct 2037 07:28:00 GMT',
      ])
    })

    test('headers in Latin-1 and bytes of UTF-8 pass both ways as they are', async () => {
      // Next.js itself writes what a header holds as UTF-8.
      const answer = Buffer.from(await get(app, '/texts'), 'latin1').toString(app === 'next' ? 'utf8' : 'latin1')
      expect(answer).toContain('caf\xe9\r\n')
      expect(Buffer.from(/\r\nx-utf8: (.*)\r\n/i.exec(answer)?.[1] ?? '', 'latin1').toString()).toBe('café ☕')

      const sent = await edge.raw(
        lines(app, 'GET /headers HTTP/1.1', 'X-Latin1: caf\xe9', `X-Utf8: ${Buffer.from('☕').toString('latin1')}`),
      )
      const body = Buffer.from(sent.slice(sent.indexOf('['), sent.lastIndexOf(']') + 1), 'latin1').toString()
      expect(JSON.parse(body)).toEqual(expect.arrayContaining(['caf\xe9', Buffer.from('☕').toString('latin1')]))
    })

    test('the client and the host are told, and repeated headers all arrive', async () => {
      const sent = await edge.raw(
        lines(app, 'GET /headers HTTP/1.1', 'Cookie: a=1; b=2', 'X-Twice: 1', 'X-Twice: 2', 'X-Forwarded-For: 6.6.6.6'),
      )
      const pairs: string[] = JSON.parse(sent.slice(sent.indexOf('['), sent.lastIndexOf(']') + 1))
      const all = (name: string) =>
        pairs.flatMap((one, index) => (index % 2 === 0 && one.toLowerCase() === name ? [pairs[index + 1]] : []))
      expect(all('host')).toEqual([`${app}.apps.localhost`])
      expect(all('x-forwarded-for')).toEqual(['127.0.0.1'])
      expect(all('cookie')).toEqual(['a=1; b=2'])
      expect(all('x-twice').join(', ')).toBe('1, 2')
    })

    test.each(['/raw?q=a%20b+c&q=%C3%A9&x=%00', '/raw?a[]=1&b={}', '/raw?', '/raw?x=/../..//'])(
      '%s arrives as it was written',
      async (target) => {
        // What a URL cannot hold, a standard Request holds escaped; Next.js writes every query anew.
        const said = (url: string) => {
          if (app === 'next') return [...new URL(url, 'http://x').searchParams]
          return isStandard ? decodeURI(url).replace(/\?$/, '') : url
        }
        expect(said((await edge.ask(app, target)).body)).toEqual(said(target))
      },
    )

    test.each(['/throw', '/reject'])('an error by %s in a handler is its 500, and the app goes on', async (path) => {
      expect(await edge.ask(app, path)).toMatchObject({
        status: 500,
        // Of Next.js it has no words.
        body: app === 'next' ? '' : expect.stringMatching(/error/i),
      })
      expect((await edge.ask(app, path)).headers['retry-after']).toBeUndefined()
      expect(await edge.ask(app, '/json')).toMatchObject({ status: 200 })
    })

    test('a slow answer is seen as it is written', async () => {
      const answer = await answerTo(send(app, '/slow').end())
      const [first] = await once(answer, 'data')
      expect(String(first)).toBe('one')
      await edge.ask(app, '/go')
      expect(await text(answer)).toBe('two')
    })

    test('server-sent events arrive one by one, and end at the app when the client leaves', async () => {
      const before = await state(app)
      const sent = send(app, '/events').end()
      const answer = await answerTo(sent)
      expect(answer.headers['content-type']).toMatch(/^text\/event-stream/)
      let heard = ''
      answer.on('data', (chunk) => {
        heard += chunk
      })
      answer.on('error', () => undefined)
      await expect.poll(() => heard.match(/data: tick/g)?.length ?? 0).toBeGreaterThan(3)
      expect((await state(app)).open).toBe(before.open + 1)
      sent.destroy()
      await expect.poll(() => state(app)).toEqual({ open: before.open, aborted: before.aborted + 1 })
    })

    test('a client that gives up is seen by the app', async () => {
      const before = await state(app)
      const sent = send(app, '/hang').end()
      sent.on('error', () => undefined)
      await expect.poll(async () => (await state(app)).open).toBe(before.open + 1)
      sent.destroy()
      await expect.poll(() => state(app)).toEqual({ open: before.open, aborted: before.aborted + 1 })
    })

    test('a body in chunks comes back in chunks, while it is still being sent', async () => {
      const sent = send(app, '/echo', { method: 'POST', headers: { 'content-type': 'text/plain' } })
      sent.write('first')
      const answer = await answerTo(sent)
      expect(answer.headers['transfer-encoding']).toBe('chunked')
      const [first] = await once(answer, 'data')
      expect(String(first)).toBe('first')
      sent.end('second')
      expect(await text(answer)).toBe('second')
    })

    test('Expect: 100-continue is answered before the body, and the app gets the body', async () => {
      const headers = { expect: '100-continue', 'content-type': 'application/octet-stream', 'content-length': '5' }
      const sent = send(app, '/digest', { method: 'POST', headers })
      sent.flushHeaders()
      await once(sent, 'continue')
      const answered = answerTo(sent)
      sent.end('hello')
      expect(JSON.parse(await text(await answered))).toEqual(await digest(Readable.from([Buffer.from('hello')])))
    })

    test('one connection carries one request after the other', async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const ports = new Set<number | undefined>()
      for (const path of ['/json', '/empty', '/not-modified', '/cookies', '/throw', '/json']) {
        const sent = send(app, path, { agent })
        const answer = await answerTo(sent.end())
        ports.add(sent.socket?.localPort)
        await buffer(answer)
      }
      expect(ports.size).toBe(1)
      agent.destroy()
    })

    test(`${megabytes} MB go up and come down whole, with a length and in chunks`, async () => {
      const bytes = megabytes * 1_000_000
      const expected = await digest(Readable.from(pattern(bytes)))
      const framings: Record<string, string>[] = [{ 'content-length': String(bytes) }, {}]
      for (const headers of framings) {
        const sent = send(app, '/digest', {
          method: 'POST',
          headers: { 'content-type': 'application/octet-stream', ...headers },
        })
        const answered = answerTo(sent)
        Readable.from(pattern(bytes)).pipe(sent)
        expect(JSON.parse(await text(await answered))).toEqual(expected)
      }
      expect(await digest(await answerTo(send(app, `/download?bytes=${bytes}`).end()))).toEqual(expected)
    })

    // What a standard Response has no words for.
    test.skipIf(!hasWords)('trailers arrive behind the body', async () => {
      const answer = await answerTo(send(app, '/trailers', { headers: { te: 'trailers' } }).end())
      expect(await text(answer)).toBe('body')
      expect(answer.trailers).toEqual({ 'x-sum': '42' })
    })

    test.skipIf(!hasWords)('early hints come before the answer', async () => {
      const heard: unknown[] = []
      const sent = send(app, '/hints')
      sent.on('information', ({ statusCode, headers }) => heard.push(statusCode, headers.link))
      const answer = await answerTo(sent.end())
      expect(heard).toEqual([103, '</style.css>; rel=preload; as=style'])
      expect(await text(answer)).toBe('after hints')
    })

    test.skipIf(!hasWords)(
      'a WebSocket carries text and bytes, small and large, and is closed by its client',
      async () => {
        const { open } = await state(app)
        const socket = new ws.WebSocket(`ws://127.0.0.1:${edge.port}/socket`, {
          headers: { host: `${app}.apps.localhost` },
        })
        const heard: Buffer[] = []
        socket.on('message', (data) => heard.push(data))
        await once(socket, 'open')
        expect((await state(app)).open).toBe(open + 1)
        const large = Buffer.alloc(1_000_000, 'x')
        socket.send('hello')
        socket.send(large)
        await expect.poll(() => heard.length).toBe(2)
        expect(String(heard[0])).toBe('hello')
        expect(heard[1]?.equals(large)).toBe(true)
        socket.close()
        await expect.poll(async () => (await state(app)).open).toBe(open)
      },
    )
  })
}
