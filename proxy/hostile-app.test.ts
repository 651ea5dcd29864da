import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

// A server that writes whatever a test names, byte for byte; only its own walls keep it from worse.
const raw = `
import { createServer } from 'node:net'
const answers = {
  '/': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok',
  '/099': 'HTTP/1.1 099 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/000': 'HTTP/1.1 000 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/600': 'HTTP/1.1 600 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/9999': 'HTTP/1.1 9999 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/reason': 'HTTP/1.1 200 O\\x01K\\x7f\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/reason-nul': 'HTTP/1.1 200 O\\0K\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-control': 'HTTP/1.1 200 OK\\r\\nX: a\\x01b\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-name': 'HTTP/1.1 200 OK\\r\\nX y: a\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-fold': 'HTTP/1.1 200 OK\\r\\nX: a\\r\\n b\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/both': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\n\\r\\n',
  '/both-other': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nContent-Length: 2\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\n\\r\\n',
  '/lengths': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nContent-Length: 3\\r\\n\\r\\nBO',
  '/coding': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: gzip\\r\\n\\r\\nBO',
  '/switch': 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: x\\r\\n\\r\\nBO',
  '/switch-bare': 'HTTP/1.1 101 Switching Protocols\\r\\n\\r\\nBO',
  '/garbage': 'good day\\r\\n\\r\\n',
  '/huge-head': 'HTTP/1.1 200 OK\\r\\nX: ' + 'a'.repeat(1_000_000) + '\\r\\n\\r\\n',
  '/interim': 'HTTP/1.1 102 Processing\\r\\n\\r\\n'.repeat(5000),
  '/nothing': '',
  '/cut': 'HTTP/1.1 200 OK\\r\\nContent-Length: 20\\r\\n\\r\\nBO',
  '/cut-chunk': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nBO',
  '/bad-chunk': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\nBO',
  '/two': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nokHTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nstolen',
  '/trailers-huge': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\nX: ' + 'a'.repeat(1_000_000) + '\\r\\n\\r\\n',
  '/trailer-control': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\nX: a\\0b\\r\\n\\r\\n',
  '/no-body-204': 'HTTP/1.1 204 No Content\\r\\nContent-Length: 8\\r\\n\\r\\nsmuggled',
  '/no-body-304': 'HTTP/1.1 304 Not Modified\\r\\nContent-Length: 8\\r\\n\\r\\nsmuggled',
  '/trailers-forged': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nTrailer: Set-Cookie\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\nSet-Cookie: own=1\\r\\nX-Sum: 1\\r\\n\\r\\n',
  '/stays-open': 'HTTP/1.1 200 OK\\r\\nContent-Length: 20\\r\\n\\r\\nBO',
}
createServer((socket) => {
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    const path = chunk.toString().split(' ')[1]
    if (path === '/never') return
    if (path === '/stays-open') return socket.write(answers[path], 'latin1')
    if (path === '/two') return socket.write(answers[path], 'latin1')
    socket.end(answers[path] ?? answers['/'], 'latin1')
  })
}).listen(process.env.PORT)
`

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { headTimeoutMs: 1_000, idleTimeoutMs: 1_000 } })
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': raw } })
  await edge.deploy('process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': raw } })
  await edge.deploy('good', { kind: 'static', files: { 'index.html': 'fine' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

describe.each(['server', 'process'])('an app of kind %s', (kind) => {
  const get = async (path: string) => {
    const socket = await edge.socket()
    socket.on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${kind}.apps.localhost\r\nConnection: close\r\n\r\n`)
    return (await buffer(socket).catch((error: Error) => Buffer.from(`cut: ${error.message}`))).toString('latin1')
  }

  test('the app answers when it behaves', async () => {
    expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*ok$/)
  })

  test.each([
    '/099',
    '/000',
    '/600',
    '/9999',
    '/reason',
    '/reason-nul',
    '/header-control',
    '/header-name',
    '/header-fold',
    '/both',
    '/both-other',
    '/lengths',
    '/coding',
    '/switch',
    '/switch-bare',
    '/garbage',
    '/huge-head',
    '/interim',
    '/nothing',
  ])('I4: a response like %s costs its own request alone: 502', async (path) => {
    const neighbour = edge.ask('good', '/')
    const answer = await get(path)
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway/)
    expect(answer).not.toContain('BO')
    expect(await neighbour).toMatchObject({ status: 200, body: 'fine' })
    expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK/)
  })

  test.each(['/cut', '/cut-chunk', '/bad-chunk', '/stays-open', '/trailers-huge', '/trailer-control'])(
    'I4: a body like %s ends in a closed connection, not in a response that looks whole',
    async (path) => {
      const answer = await get(path)
      expect(answer).not.toMatch(/0\r\n\r\n$/)
      expect(answer).not.toMatch(/BO.{18}$/)
      expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK/)
    },
  )

  test('I4: an answer that never comes is a 504 for its own request', async () => {
    const socket = await edge.socket()
    socket.write(`GET /never HTTP/1.1\r\nHost: ${kind}.apps.localhost\r\n\r\n`)
    const answered = once(socket, 'data')
    expect(await edge.ask('good', '/')).toMatchObject({ status: 200 })
    expect(String((await answered)[0])).toMatch(/^HTTP\/1\.1 504 Gateway Timeout/)
    socket.destroy()
  })

  test('I4: a second response nobody asked for is given to nobody', async () => {
    for (let round = 0; round < 5; round++) {
      expect(await get('/two')).toMatch(/ok$/)
      expect(await get('/')).toMatch(/ok$/)
    }
  })

  test.each(['/no-body-204', '/no-body-304', '/trailers-forged'])(
    'I4: an answer like %s is passed on in the one way it can be read',
    async (path) => {
      for (let round = 0; round < 5; round++) {
        const answer = await get(path)
        expect(answer).toMatch(/^HTTP\/1\.1 [23]0[04] /)
        expect(answer).not.toMatch(/smuggled|own=1/)
        expect(await get('/')).toMatch(/ok$/)
      }
    },
  )
})
