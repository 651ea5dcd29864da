import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'
import { edgeProcesses } from '../../../test/support/edge-process.ts'

let database: TestDatabase
let edge: TestEdge

// Counts what begins and what is given up, and holds nothing of it back.
const server = `
import { createServer } from 'node:http'
const state = { begun: 0, open: 0, givenUp: 0 }
createServer((request, response) => {
  if (request.url === '/' || request.url === '/state') return response.end(JSON.stringify(state))
  state.begun++
  state.open++
  response.on('close', () => { state.open--; if (!response.writableFinished) state.givenUp++ })
  if (request.url === '/upload') return request.on('error', () => undefined).resume()
  if (request.url === '/silent') return
  response.write('begun')
  const timer = setInterval(() => response.write('x'.repeat(10_000)), 10)
  response.on('close', () => clearInterval(timer))
}).listen(process.env.PORT)
`
const fetchApp = `
const state = { begun: 0, open: 0, givenUp: 0 }
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/' || pathname === '/state') return Response.json(state)
    state.begun++
    state.open++
    const over = () => { state.open--; state.givenUp++ }
    if (pathname === '/upload') {
      await request.arrayBuffer().catch(over)
      return new Response('whole')
    }
    if (pathname === '/silent') {
      await new Promise((resolve) => request.signal.addEventListener('abort', resolve))
      over()
      return new Response()
    }
    let timer
    return new Response(new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('begun'))
        timer = setInterval(() => controller.enqueue(Buffer.alloc(10_000)), 10)
      },
      cancel() { clearInterval(timer); over() },
    }))
  },
}
`

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': server } })
  await edge.deploy('process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': server } })
  await edge.deploy('fetch', { kind: 'fetch', server: { 'index.mjs': fetchApp } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const stateOf = async (app: string): Promise<{ begun: number; open: number; givenUp: number }> =>
  JSON.parse((await edge.ask(app, '/state')).body)

const ways = [
  ['downloads', 'GET /download HTTP/1.1', []],
  ['uploads with a length', 'POST /upload HTTP/1.1', ['Content-Length: 1000000', '', 'some of it']],
  ['uploads in chunks', 'POST /upload HTTP/1.1', ['Transfer-Encoding: chunked', '', '5\r\nhello\r\n']],
  ['requests without an answer yet', 'GET /silent HTTP/1.1', []],
] as const
const rounds = 4
const clientsAtOnce = 50

describe.each(['server', 'process', 'fetch'])('an app of kind %s', (app) => {
  test.each(ways)(
    'E8: of %s that clients give up it hears, each time, and the edge keeps nothing',
    async (_what, line, more) => {
      const message = [line, `Host: ${app}.apps.localhost`, ...(more.length > 0 ? more : ['', ''])].join('\r\n')
      const { begun, givenUp } = await stateOf(app)
      const before = edgeProcesses(edge.port)
      for (let round = 1; round <= rounds; round++) {
        const sockets = await Promise.all(Array.from({ length: clientsAtOnce }, () => edge.socket()))
        for (const socket of sockets) socket.on('error', () => undefined).write(message)
        await expect.poll(async () => (await stateOf(app)).begun).toBe(begun + round * clientsAtOnce)
        await Promise.all(sockets.map((socket, index) => leave(socket, index)))
        await expect.poll(async () => (await stateOf(app)).open).toBe(0)
      }
      expect(await stateOf(app)).toMatchObject({ givenUp: givenUp + rounds * clientsAtOnce })
      await expect.poll(() => edgeProcesses(edge.port).connections).toBe(0)
      const after = edgeProcesses(edge.port)
      expect(after.pids).toEqual(before.pids)
      // Connections to the app are kept for a while.
      await expect.poll(() => edgeProcesses(edge.port).descriptors).toBeLessThanOrEqual(before.descriptors + 5)
    },
  )
})

// With a reset, or as if all had been said.
async function leave(socket: Socket, index: number): Promise<void> {
  const closed = once(socket, 'close')
  if (index % 2 === 0) socket.resetAndDestroy()
  else socket.destroy()
  await closed
}
