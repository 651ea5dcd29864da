import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { StallWatch } from './stall-watch.ts'

// Client and server share one process here: who gets no turn for a window is taken for one who sends nothing.
const stallWindowMs = 1_500
const watch = new StallWatch({ stallWindowMs, stallMinBytes: 1_000 })
const server = createServer()
let socket: Socket

beforeEach(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => undefined)
})

afterEach(() => {
  socket.destroy()
  server.closeAllConnections()
  server.close()
})

async function watched(head: string): Promise<{ request: IncomingMessage; response: ServerResponse }> {
  const asked = once(server, 'request')
  socket.write(`${head}\r\nHost: a\r\n\r\n`)
  const [request, response] = await asked
  watch.add(request, response)
  return { request, response }
}

test('E5: an upload that only drips is ended', async () => {
  const { request, response } = await watched('POST / HTTP/1.1\r\nContent-Length: 100000')
  request.resume()
  const drip = setInterval(() => socket.write('x'), 50)
  await once(response, 'close')
  clearInterval(drip)
  expect(response.writableFinished).toBe(false)
})

test('E5: a download that nobody reads is ended', async () => {
  const { response } = await watched('GET / HTTP/1.1')
  socket.pause()
  response.end(Buffer.alloc(64_000_000))
  await once(response, 'close')
  expect(response.writableFinished).toBe(false)
})

test('a client that is fast enough, or waits for the app, is left alone', async () => {
  const { request, response } = await watched('POST / HTTP/1.1\r\nContent-Length: 100000')
  const received = once(request.resume(), 'end')
  for (let sent = 0; sent < 100_000; sent += 5_000) {
    socket.write('x'.repeat(5_000))
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await received
  await new Promise((resolve) => setTimeout(resolve, 2.3 * stallWindowMs))
  expect(response.destroyed).toBe(false)
  response.end('at last')
  const [answer] = await once(socket, 'data')
  expect(String(answer)).toContain('at last')
})
