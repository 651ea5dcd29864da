import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { probe } from './isolate.ts'

const commonJsServer = `
  const http = require('node:http')
  const server = http.createServer((request, response) => response.end(JSON.stringify({
    isMain: require.main === module,
    argv: process.argv.slice(1),
    cwd: process.cwd(),
    host: request.headers.host,
    peer: request.socket.remoteAddress,
    greeting: process.env.GREETING,
    names: Object.keys(process.env).sort(),
    user: require('node:os').userInfo().uid,
    isMainThread: require('node:worker_threads').isMainThread,
  })))
  server.listen(process.env.PORT, () => console.log('listens on', server.address().port))
`

test('a CommonJS server is served as if it were a process of its own', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const files = { 'src/index.js': commonJsServer }
  const isolate = await home.isolate({ files, entry: 'src/index.js', env: { GREETING: 'hello', PORT: '4321' }, lines })
  await isolate.ready(60_000)
  const answer = await probe({
    socketPath: isolate.socketPath,
    speaks: 'http',
    path: '/',
    timeoutMs: 30_000,
    host: 'hello.example',
  })
  expect(answer.status).toBe(200)
  expect(answer.durationMs).toBeGreaterThan(0)
  const directory = `${home.path}/app-0`
  expect(JSON.parse(answer.body)).toEqual({
    isMain: true,
    argv: [`${directory}/src/index.js`],
    cwd: directory,
    host: 'hello.example',
    peer: '127.0.0.1',
    greeting: 'hello',
    names: ['GREETING', 'HOME', 'HOST', 'LANG', 'NODE_ENV', 'PATH', 'PORT'],
    isMainThread: true,
    user: home.appUser.uid ?? process.getuid?.(),
  })
  await expect.poll(() => lines).toEqual(['listens on 4321'])

  const exit = await isolate.stop(5000)
  expect(exit).toMatchObject({ code: 0, cause: 'stopped' })
  await expect(stat(isolate.socketPath)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('an ES module with a top-level await and TypeScript syntax is an entry too', async () => {
  await using home = await ThrowAwayHome.make()
  const server = `
    import { createServer, type Server } from 'node:http'
    await Promise.resolve()
    const server: Server = createServer((_, response) => response.end(String(import.meta.main)))
    server.listen({ port: 8080, host: '0.0.0.0' })
  `
  const isolate = await home.isolate({
    files: { 'package.json': '{"type":"module"}', 'server.ts': server },
    entry: 'server.ts',
  })
  await isolate.ready(60_000)
  expect(await text(isolate.socketPath)).toBe('true')
})

test.for([
  ['port', 'listen(3000)'],
  ['port, host, backlog and callback', `listen(3000, '127.0.0.1', 5, () => console.log('listening'))`],
  ['options', `listen({ port: 3000, host: '::1' }, () => console.log('listening'))`],
  ['a path', `listen('/no/such/folder/app.sock', () => console.log('listening'))`],
  ['nothing', 'listen()'],
  ['a callback alone', `listen(() => console.log('listening'))`],
] as const)("listen with %s is taken to the platform's socket", async ([, call]) => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const server = `const server = require('http').createServer((_, response) => response.end(JSON.stringify(server.address()))).${call}`
  const isolate = await home.isolate({ files: { 'index.js': server }, entry: 'index.js', lines })
  await isolate.ready(60_000)
  const address: unknown = JSON.parse(await text(isolate.socketPath))
  expect(address).toEqual(
    call.includes('path') || call.includes('/no/such')
      ? '/no/such/folder/app.sock'
      : expect.objectContaining({ port: 3000 }),
  )
  if (call.includes('console.log')) await expect.poll(() => lines).toEqual(['listening'])
})

test("a probe for a free port and a second server do not take the app's place", async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const server = `
    const net = require('net'), http = require('http')
    const search = net.createServer().listen(3000, () => search.close(() => {
      http.createServer((_, response) => response.end('app')).listen(3000, () => {
        const metrics = http.createServer((_, response) => response.end('metrics')).listen(9090, async () => {
          const { address, port } = metrics.address()
          console.log(await (await fetch('http://' + address + ':' + port)).text())
        })
      })
    }))`
  const isolate = await home.isolate({ files: { 'index.js': server }, entry: 'index.js', lines })
  await isolate.ready(60_000)
  expect(await text(isolate.socketPath)).toBe('app')
  await expect
    .poll(() => lines)
    .toEqual([expect.stringMatching(/port 9090 is not reachable from outside.*127\.0\.0\.1:\d+/), 'metrics'])
})

test('chdir moves the whole process, relative paths with it', async () => {
  await using home = await ThrowAwayHome.make()
  const server = `
    process.chdir(__dirname)
    const before = process.umask(0o027)
    let failure
    try { process.chdir('nowhere') } catch ({ code, message }) { failure = { code, message } }
    require('http').createServer((_, response) => response.end(JSON.stringify({
      cwd: process.cwd(), text: require('fs').readFileSync('note.txt', 'utf8'), failure, umask: [before, process.umask()],
    }))).listen(0)`
  const isolate = await home.isolate({
    files: { 'deep/index.js': server, 'deep/note.txt': 'found' },
    entry: 'deep/index.js',
  })
  await isolate.ready(60_000)
  const seen = JSON.parse(await text(isolate.socketPath))
  expect(seen).toMatchObject({
    cwd: `${home.path}/app-0/deep`,
    text: 'found',
    failure: { code: 'ENOENT' },
    umask: [0o022, 0o027],
  })
  expect(seen.failure.message).toContain('chdir')
})

test('a request in flight is answered before a stopped app ends, and an idle connection does not hold it', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const server = `
    require('http').createServer((request, response) => {
      if (request.url === '/') return response.end('quick')
      console.log('started')
      response.write('slow ')
      setTimeout(() => response.end('but whole'), 400)
    }).listen(0)`
  const isolate = await home.isolate({ files: { 'index.js': server }, entry: 'index.js', lines })
  await isolate.ready(60_000)
  const idle = connect(isolate.socketPath)
  idle.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(idle, 'data')
  const slow = text(isolate.socketPath, '/slow')
  await expect.poll(() => lines).toEqual(['started'])
  const stopped = isolate.stop(10_000)
  expect(await slow).toBe('slow but whole')
  expect(await stopped).toMatchObject({ code: 0, cause: 'stopped' })
  idle.destroy()
})

test('cluster workers serve through the primary', async () => {
  await using home = await ThrowAwayHome.make()
  const server = `
    const cluster = require('cluster')
    if (cluster.isPrimary) cluster.fork()
    else require('http').createServer((_, response) => response.end('from ' + cluster.worker.id)).listen(3000)`
  const isolate = await home.isolate({ files: { 'index.js': server }, entry: 'index.js' })
  await isolate.ready(60_000)
  expect(await text(isolate.socketPath)).toBe('from 1')
})

function open(socketPath: string, path: string): Promise<IncomingMessage> {
  return new Promise((answered, failed) => {
    request({ socketPath, path, agent: false, headers: { host: 'hello.example' } }, answered)
      .once('error', failed)
      .end()
  })
}

async function text(socketPath: string, path = '/'): Promise<string> {
  return Buffer.concat(await (await open(socketPath, path)).toArray()).toString()
}
