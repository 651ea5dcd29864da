import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { edgeProcesses } from '../../test/support/edge-process.ts'

let database: TestDatabase
let edge: TestEdge

const server = `
import { createServer } from 'node:http'
createServer((request, response) => {
  if (request.url === '/early') { response.writeHead(403); return response.end('no') }
  request.resume().on('end', () => response.end('whole'))
}).listen(process.env.PORT)
`
const fetchApp =
  'export default { fetch: async (request) => new Response(String((await request.arrayBuffer()).byteLength)) }'

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { maxBodyBytes: 1_000_000 } })
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': server } })
  await edge.deploy('fetch', { kind: 'fetch', server: { 'index.mjs': fetchApp } })
  await edge.deploy('files', { kind: 'static', files: { 'index.html': 'fine' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const megabyte = Buffer.alloc(1_048_576, 'x')
const chunk = Buffer.concat([Buffer.from('100000\r\n'), megabyte, Buffer.from('\r\n')])

/** What a client gets that reads nothing before it has sent all of its 50 MB, as many do. Throws when it cannot send them. */
async function upload(lines: string[]): Promise<string> {
  const socket = await edge.socket()
  const piece = lines.some((line) => line.startsWith('Transfer-Encoding')) ? chunk : megabyte
  socket.write([...lines, '', ''].join('\r\n'))
  for (let sent = 0; sent < 50; sent++) {
    if (!socket.write(piece)) await once(socket, 'drain')
  }
  return String(await buffer(socket))
}

const length = `Content-Length: ${50 * megabyte.length}`
const chunked = 'Transfer-Encoding: chunked'

test.each([
  ['a body over the limit, told in advance', 'server', '/', [length], 413],
  ['a body over the limit, not told in advance', 'server', '/', [chunked], 413],
  ['one to a fetch app, told in advance', 'fetch', '/', [length], 413],
  ['one to a fetch app, not told in advance', 'fetch', '/', [chunked], 413],
  [
    'a request that says it is the last, and is answered early',
    'server',
    '/early',
    [chunked, 'Connection: close'],
    403,
  ],
  ['a request for a file', 'files', '/', [chunked, 'Connection: close'], 405],
  ['a host that is none', 'nobody', '/', [length, 'Connection: close'], 404],
  ['two hosts', 'server', '/', [length, 'Host: other.apps.localhost'], 400],
  ['two framings', 'server', '/', [length, chunked], 400],
  ['a head that is too large', 'server', '/', [length, `X: ${'x'.repeat(20_000)}`], 431],
])('E6: %s: who sends 50 MB all the same reads the answer', async (_name, app, path, headers, status) => {
  for (let upwards = 0; upwards < 5; upwards++) {
    const answer = await upload([`POST ${path} HTTP/1.1`, `Host: ${edge.hostOf(app)}`, ...headers])
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
  }
})

test('E5: one that goes on dripping behind its refusal is counted until it is ended, and holds up no shutdown', async () => {
  const sockets = await Promise.all(Array.from({ length: 20 }, () => edge.socket()))
  const closed = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)))
  const drips = sockets.map((socket) => {
    // It does not close its side when the edge has closed its own.
    socket.allowHalfOpen = true
    socket.on('error', () => undefined).resume()
    socket.write(['POST / HTTP/1.1', `Host: ${edge.hostOf('server')}`, length, '', ''].join('\r\n'))
    return setInterval(() => socket.writable && socket.write('x'), 50)
  })
  await Promise.all(sockets.map((socket) => once(socket, 'end')))
  expect(edgeProcesses(edge.port).open).toBeGreaterThanOrEqual(20)
  await edge.shut()
  await Promise.all(closed)
  for (const drip of drips) clearInterval(drip)
  await edge.open()
})
