import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { type ChannelCall, ChannelClient } from './channel-client.ts'
import { probe } from './probe.ts'

const app = `
  import { createHash } from 'node:crypto'
  const routes = {
    '/': (request, env) => new Response('hello ' + env.GREETING + ' at ' + request.url),
    '/cookies': () => new Response(null, { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2; Path=/']] }),
    '/nothing': () => new Response(null, { status: 204 }),
    '/unchanged': () => new Response(null, { status: 304, headers: { etag: '"1"' } }),
    '/echo': (request) => new Response(request.body, { headers: { 'x-type': request.headers.get('content-type') ?? 'none' } }),
    '/digest': async (request) => {
      const hash = createHash('sha256')
      for await (const chunk of request.body) hash.update(chunk)
      return Response.json({ digest: hash.digest('hex') })
    },
    '/method': (request) => new Response(request.method, { headers: { 'x-seen': [...request.headers].map(([name]) => name).join() } }),
    '/throws': () => { throw new Error('thrown on purpose') },
    '/rejects': async () => { throw new Error('rejected on purpose') },
    '/not-a-response': () => 'text',
    '/breaks': () => new Response(new ReadableStream({
      pull(controller) { this.n = (this.n ?? 0) + 1; if (this.n > 3) controller.error(new Error('broke on purpose')); else controller.enqueue(Buffer.alloc(100_000, 'x')) },
    })),
    '/endless': (request) => {
      request.signal.addEventListener('abort', () => console.log('request aborted'))
      return new Response(new ReadableStream({
        pull: (controller) => new Promise((r) => setTimeout(r, 5)).then(() => controller.enqueue(Buffer.alloc(50_000, 'x'))),
        cancel: () => console.log('body cancelled'),
      }))
    },
    '/waits': (request) => new Promise((settle) => request.signal.addEventListener('abort', () => { console.log('request aborted'); settle(new Response('late')) })),
    '/later': (request, env, ctx) => {
      ctx.waitUntil(new Promise((r) => setTimeout(r, 300)).then(() => console.log('done later')))
      return new Response('now')
    },
    '/large': () => new Response(new ReadableStream({
      pull(controller) { this.n = (this.n ?? 0) + 1; if (this.n > 200) controller.close(); else controller.enqueue(Buffer.alloc(100_000, this.n)) },
    })),
  }
  export default { fetch: (request, env, ctx) => (routes[new URL(request.url).pathname] ?? (() => new Response('no such page', { status: 404, statusText: 'Nope' })))(request, env, ctx) }
`

async function started(home: ThrowAwayHome, lines: string[] = []) {
  const isolate = await home.isolate({
    kind: 'fetch',
    entry: 'bundle.js',
    files: { 'bundle.js': app, 'package.json': '{"type":"module"}' },
    env: { GREETING: 'world' },
    lines,
  })
  await isolate.ready(60_000)
  return isolate
}

test('a fetch app gets the address the visitor used, its env, and answers with a length', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const answer = await call(socketPath, { path: '/?q=1', headers: { host: 'hello.example:8080' } })
  expect(answer.text).toBe('hello world at http://hello.example:8080/?q=1')
  expect(answer.headers['content-length']).toEqual([String(answer.text.length)])
  const secure = await call(socketPath, { path: '/', headers: { host: 'hello.example', 'x-forwarded-proto': 'https' } })
  expect(secure.text).toBe('hello world at https://hello.example/')
})

test('statuses, methods, cookies and bodies follow HTTP', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  expect((await call(socketPath, { path: '/cookies' })).headers['set-cookie']).toEqual(['a=1', 'b=2; Path=/'])
  const nothing = await call(socketPath, { path: '/nothing' })
  expect([nothing.status, nothing.text, nothing.headers['content-length']]).toEqual([204, '', undefined])
  const unchanged = await call(socketPath, { path: '/unchanged' })
  expect([unchanged.status, unchanged.headers['etag']]).toEqual([304, ['"1"']])
  const head = await call(socketPath, { path: '/', method: 'HEAD' })
  expect([head.status, head.text]).toEqual([200, ''])
  const missing = await call(socketPath, { path: '/none' })
  expect([missing.status, missing.message, missing.text]).toEqual([404, 'Nope', 'no such page'])
  for (const method of ['DELETE', 'OPTIONS', 'PATCH'])
    expect((await call(socketPath, { path: '/method', method })).text).toBe(method)
  const repeated = await call(socketPath, { path: '/method', headers: { 'x-one': ['a', 'b'], cookie: 'a=1' } })
  expect(repeated.headers['x-seen']?.toString().split(',')).toEqual(expect.arrayContaining(['x-one', 'cookie']))
})

test('an app that throws answers 500 and lives on', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const { socketPath } = await started(home, lines)
  for (const path of ['/throws', '/rejects', '/not-a-response'])
    expect((await call(socketPath, { path })).status).toBe(500)
  await expect
    .poll(() => lines.join('\n'))
    .toMatch(/thrown on purpose[\s\S]*rejected on purpose[\s\S]*fetch\(\) must return a Response/)
  await expect(call(socketPath, { path: '/breaks' })).rejects.toThrow('mid-response')
  await expect.poll(() => lines.join('\n')).toContain('broke on purpose')
  expect((await call(socketPath, { path: '/' })).status).toBe(200)
})

test('requests that cannot be made into a Request get a 400', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  expect((await call(socketPath, { path: '/', method: 'TRACE' })).status).toBe(400)
  for (const host of ['a b', '[', 'a@b:c'])
    expect((await call(socketPath, { path: '/', headers: { host } })).status).toBe(400)
})

test('who does not say the preface is not served', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  for (const said of ['GET / HTTP/1.1\r\nhost: x\r\n\r\n', 'ATELIER/2\n', '\0']) {
    const socket = connect(socketPath)
    socket.write(said)
    expect(await socket.toArray()).toEqual([])
  }
  expect((await call(socketPath, { path: '/' })).status).toBe(200)
})

test('a body that the app does not read is no obstacle to the next request on the connection', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const body = Readable.from([Buffer.alloc(3_000_000)])
  expect((await call(socketPath, { path: '/', method: 'POST', body })).status).toBe(200)
  expect((await call(socketPath, { path: '/' })).status).toBe(200)
  await expect.poll(() => body.readableEnded).toBe(true)
})

test('a body goes in and comes out as it is sent', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const up = new PassThrough()
  const echo = send(socketPath, { path: '/echo', method: 'POST', headers: { 'content-type': 'text/x-test' }, body: up })
  up.write('first')
  const { pairs } = await echo.response
  expect(pairs).toEqual(expect.arrayContaining(['x-type', 'text/x-test']))
  const chunks = (await streamOf(echo)).setEncoding('utf8').iterator()
  expect((await chunks.next()).value).toBe('first')
  up.end(' and last')
  expect((await chunks.next()).value).toBe(' and last')
  expect((await chunks.next()).done).toBe(true)
})

test('20 MB go up and come down whole', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const bytes = Buffer.alloc(20_000_000, 'large ')
  const up = await call(socketPath, { path: '/digest', method: 'POST', body: Readable.from(chunked(bytes)) })
  expect(JSON.parse(up.text)).toEqual({ digest: createHash('sha256').update(bytes).digest('hex') })
  expect((await call(socketPath, { path: '/large' })).bytes).toHaveLength(20_000_000)
})

test('a client that leaves aborts the request and cancels the body', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const { socketPath } = await started(home, lines)
  const download = send(socketPath, { path: '/endless' })
  for await (const _chunk of await streamOf(download)) break
  await expect.poll(() => lines.toSorted()).toEqual(['body cancelled', 'request aborted'])

  lines.length = 0
  const waiting = send(socketPath, { path: '/waits' })
  await call(socketPath, { path: '/' })
  waiting.abort()
  await expect.poll(() => lines).toEqual(['request aborted'])
  await expect(waiting.response).rejects.toMatchObject({ fault: 'aborted' })

  const body = new PassThrough()
  const upload = send(socketPath, { path: '/digest', method: 'POST', body })
  body.write(Buffer.alloc(50_000))
  upload.abort()
  expect((await call(socketPath, { path: '/' })).status).toBe(200)
})

test('a hundred requests at once are answered each with its own', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const queries = Array.from({ length: 100 }, (_, index) => `/?n=${index}`)
  const answers = await Promise.all(queries.map((path) => call(socketPath, { path, headers: { host: 'x' } })))
  expect(answers.map(({ text }) => text)).toEqual(queries.map((query) => `hello world at http://x${query}`))
})

test('what an app does after its answer is finished before it stops', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const isolate = await started(home, lines)
  expect((await call(isolate.socketPath, { path: '/later' })).text).toBe('now')
  expect(await isolate.stop(5000)).toMatchObject({ code: 0 })
  expect(lines).toEqual(['done later'])
})

test('a bare function and a Hono app are fetch apps, and one that listens itself serves itself', async () => {
  await using home = await ThrowAwayHome.make()
  const entries = {
    'function.mjs': `export default (request) => new Response('from a function')`,
    'hono.mjs': await bundled(`import { Hono } from 'hono'
      const app = new Hono()
      app.get('/', (c) => c.text('from hono, ' + c.env.NODE_ENV))
      export default app`),
    'listens.mjs': `import { createServer } from 'node:http'
      createServer((_, response) => response.end('from its own server')).listen(3000)
      export default { fetch: () => new Response('not this') }`,
  }
  const answers = await Promise.all(
    Object.keys(entries).map(async (entry) => {
      const isolate = await home.isolate({ kind: 'fetch', entry, files: entries })
      await isolate.ready(60_000)
      const place = { socketPath: isolate.socketPath, speaks: isolate.speaks() }
      return (await probe({ ...place, path: '/', timeoutMs: 30_000, host: 'localhost' })).body
    }),
  )
  expect(answers).toEqual(['from a function', 'from hono, production', 'from its own server'])
})

async function bundled(contents: string): Promise<string> {
  const stdin = { contents, resolveDir: import.meta.dirname }
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', platform: 'node', write: false })
  return outputFiles[0]?.text ?? ''
}

type Asked = { path: string; method?: string; headers?: Record<string, string | string[]>; body?: Readable }

function send(socketPath: string, { path, method = 'GET', headers = {}, body }: Asked): ChannelCall {
  const pairs = Object.entries({ host: 'localhost', ...headers }).flatMap(([name, value]) =>
    [value].flat().flatMap((one) => [name, one]),
  )
  return clientOf(socketPath).send({ method, target: path, pairs, body: body ?? null })
}

async function call(socketPath: string, asked: Asked) {
  const { status, reason, pairs, body } = await send(socketPath, asked).response
  const headers: Record<string, string[]> = {}
  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index] ?? ''
    headers[name] = [...(headers[name] ?? []), pairs[index + 1] ?? '']
  }
  const bytes = Buffer.isBuffer(body) ? body : await buffer(body)
  return { status: Number(status), message: reason, headers, bytes, text: bytes.toString() }
}

const clients = new Map<string, ChannelClient>()

// As an edge does: one connection for all requests.
function clientOf(socketPath: string): ChannelClient {
  const client = clients.get(socketPath) ?? new ChannelClient(socketPath)
  clients.set(socketPath, client)
  return client
}

function chunked(bytes: Buffer): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / 50_000) }, (_, index) =>
    bytes.subarray(index * 50_000, (index + 1) * 50_000),
  )
}

async function streamOf(asked: ChannelCall): Promise<Readable> {
  const { body } = await asked.response
  return Buffer.isBuffer(body) ? Readable.from([body]) : body
}
