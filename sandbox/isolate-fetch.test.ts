import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { connect } from 'node:net'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { ThrowAwayHome } from './throw-away-home.ts'

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
  await isolate.ready(10_000)
  return isolate
}

test('a fetch app gets the address the visitor used, its env, and answers with a length', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const answer = await call(socketPath, { path: '/?q=1', headers: { host: 'hello.example:8080' } })
  expect(answer.text).toBe('hello world at http://hello.example:8080/?q=1')
  expect(answer.headers['content-length']).toBe(String(answer.text.length))
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
  expect([unchanged.status, unchanged.headers.etag]).toEqual([304, '"1"'])
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
  await expect(call(socketPath, { path: '/breaks' })).rejects.toThrow(/aborted|hang up/)
  await expect.poll(() => lines.join('\n')).toContain('broke on purpose')
  expect((await call(socketPath, { path: '/' })).status).toBe(200)
})

test('requests that cannot be made into a Request get a 400', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  expect((await call(socketPath, { path: '/', method: 'TRACE' })).status).toBe(400)
  for (const host of ['a b', '[', 'a@b:c']) {
    const socket = connect(socketPath)
    socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    expect(String(Buffer.concat(await socket.toArray()))).toMatch(/^HTTP\/1\.1 400/)
  }
})

test('a body that the app does not read is no obstacle to the next request on the connection', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const first = request({ socketPath, agent, path: '/', method: 'POST' })
  first.end(Buffer.alloc(3_000_000))
  expect((await read(first)).status).toBe(200)
  expect((await call(socketPath, { path: '/', agent })).status).toBe(200)
  agent.destroy()
})

test('a body goes in and comes out as it is sent', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const echo = request({ socketPath, path: '/echo', method: 'POST', headers: { 'content-type': 'text/x-test' } })
  echo.write('first')
  const [answer]: IncomingMessage[] = await once(echo, 'response')
  if (!answer) throw new Error('no answer')
  expect(answer.headers['x-type']).toBe('text/x-test')
  const chunks = answer.setEncoding('utf8').iterator()
  expect((await chunks.next()).value).toBe('first')
  echo.end(' and last')
  expect((await chunks.next()).value).toBe(' and last')
  expect((await chunks.next()).done).toBe(true)
})

test('20 MB go up and come down whole', async () => {
  await using home = await ThrowAwayHome.make()
  const { socketPath } = await started(home)
  const bytes = Buffer.alloc(20_000_000, 'large ')
  const up = request({ socketPath, path: '/digest', method: 'POST' })
  up.end(bytes)
  expect(JSON.parse((await read(up)).text)).toEqual({ digest: createHash('sha256').update(bytes).digest('hex') })
  expect((await call(socketPath, { path: '/large' })).bytes).toHaveLength(20_000_000)
})

test('a client that leaves aborts the request and cancels the body', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const { socketPath } = await started(home, lines)
  const download = request({ socketPath, path: '/endless' }).end()
  const [answer]: IncomingMessage[] = await once(download, 'response')
  for await (const _chunk of answer ?? []) break
  download.destroy()
  await expect.poll(() => lines.toSorted()).toEqual(['body cancelled', 'request aborted'])

  lines.length = 0
  const waiting = request({ socketPath, path: '/waits' }).on('error', () => waiting.destroy())
  waiting.end()
  await once(waiting, 'finish')
  waiting.destroy()
  await expect.poll(() => lines).toEqual(['request aborted'])

  const upload = request({ socketPath, path: '/digest', method: 'POST' }).on('error', () => upload.destroy())
  upload.write(Buffer.alloc(1_000_000))
  upload.destroy()
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
      await isolate.ready(10_000)
      return (await call(isolate.socketPath, { path: '/' })).text
    }),
  )
  expect(answers).toEqual(['from a function', 'from hono, production', 'from its own server'])
})

async function bundled(contents: string): Promise<string> {
  const stdin = { contents, resolveDir: import.meta.dirname }
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', platform: 'node', write: false })
  return outputFiles[0]?.text ?? ''
}

async function call(socketPath: string, options: RequestOptions) {
  return read(request({ socketPath, agent: false, ...options }).end())
}

async function read(asked: ClientRequest) {
  const answer = await new Promise<IncomingMessage>((settle, failed) =>
    asked.once('response', settle).once('error', failed),
  )
  const bytes = Buffer.concat(await answer.toArray())
  return {
    status: answer.statusCode,
    message: answer.statusMessage,
    headers: answer.headers,
    bytes,
    text: bytes.toString(),
  }
}
