import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

async function listen(
  socket: string,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  const server = createServer({ requestTimeout: 0 }, handler).listen(join(edge.config.runDir, socket))
  await once(server, 'listening')
  return server
}

test('a part that is down is a 503 that says when to come back', async () => {
  for (const host of ['git.localhost', 'api.localhost', 'console.localhost']) {
    const answer = await edge.ask(host, '/')
    expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '2' } })
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'PLATFORM_STARTING' } })
  }
  const page = await edge.ask('console.localhost', '/', { headers: { accept: 'text/html' } })
  expect(page).toMatchObject({ status: 503, headers: { 'content-type': 'text/html; charset=utf-8' } })
})

test('requests reach the part whose host they name, whole and without what a client may not say', async () => {
  const server = await listen('gateway.sock', async (request, response) => {
    let bytes = 0
    for await (const chunk of request) bytes += chunk.length
    response.setHeader('www-authenticate', 'Basic realm="x"')
    response.statusCode = 401
    response.end(JSON.stringify({ url: request.url, method: request.method, headers: request.headers, bytes }))
  })
  const answer = await edge.ask('git.localhost', '/hello.git/info/refs?service=git-receive-pack', {
    method: 'POST',
    headers: {
      authorization: 'Basic abc',
      'x-forwarded-for': '6.6.6.6',
      'x-atelier-user': 'root',
      connection: 'x-drop',
      'x-drop': '1',
    },
    body: 'x'.repeat(3_000_000),
  })
  expect(answer).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } })
  const seen = JSON.parse(answer.body)
  expect(seen).toMatchObject({ url: '/hello.git/info/refs?service=git-receive-pack', method: 'POST', bytes: 3_000_000 })
  expect(seen.headers).toMatchObject({
    authorization: 'Basic abc',
    'x-forwarded-for': '127.0.0.1',
    host: 'git.localhost',
  })
  expect(seen.headers).not.toHaveProperty('x-atelier-user')
  expect(seen.headers).not.toHaveProperty('x-drop')
  server.close()
})

test('a part that refuses a request before it has read the body is heard, every time', async () => {
  const server = await listen('registry.sock', (request, response) => {
    response.statusCode = 401
    response.end('no')
    request.resume()
  })
  const refused = () => edge.ask('api.localhost', '/deploy', { method: 'POST', body: 'x'.repeat(200_000) })
  const statuses: number[] = []
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all(Array.from({ length: 20 }, refused))
    statuses.push(...answers.map(({ status }) => status))
  }
  expect(statuses.filter((status) => status !== 401)).toEqual([])
  server.close()
})

test('a client that says it asks once is not kept waiting for the end of the connection', async () => {
  const server = await listen('registry.sock', (_request, response) => response.end('once'))
  const answer = await edge.raw('GET /health HTTP/1.1\r\nHost: api.localhost\r\nConnection: close\r\n\r\n')
  expect(answer).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*\r\nconnection: close\r\n[\s\S]*once/i)
  server.close()
})

test('an upload to a part that goes down in its middle is read to its end', async () => {
  const server = await listen('gateway.sock', (request) => request.socket.destroy())
  const socket = await edge.socket()
  const piece = Buffer.alloc(1_048_576)
  socket.write(
    `POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: git.localhost\r\nContent-Length: ${20 * piece.length}\r\n\r\n`,
  )
  for (let sent = 0; sent < 20; sent++) if (!socket.write(piece)) await once(socket, 'drain')
  const [answer] = await once(socket, 'data')
  expect(String(answer)).toMatch(/^HTTP\/1\.1 502 /)
  socket.destroy()
  server.close()
})

test('a long answer streams as it is written, and ends with the client', async () => {
  let isGone = false
  const server = await listen('registry.sock', (_request, response) => {
    response.on('close', () => {
      isGone = true
    })
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write('{"seq":1}\n')
  })
  const socket = await edge.socket()
  socket.write('GET /api/platform/x HTTP/1.1\r\nHost: api.localhost\r\n\r\n')
  const [head] = await once(socket, 'data')
  expect(String(head)).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*\{"seq":1\}/)
  socket.destroy()
  await expect.poll(() => isGone).toBe(true)
  server.closeAllConnections()
  server.close()
})

test('a request in flight when the part goes down is a 502, and smuggles nothing', async () => {
  const seen: string[] = []
  const server = await listen('gateway.sock', async (request) => {
    seen.push(`${request.method} ${request.url}`)
    request.resume()
    await pause(20)
    request.socket.destroy()
  })
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: git.localhost\r\n\r\n'
  const answer = await edge.raw(
    `DELETE /one HTTP/1.1\r\nHost: git.localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 502 /)
  expect(seen).toEqual(['DELETE /one'])
  server.close()
})
