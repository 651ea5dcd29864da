import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { IdleConnections } from './idle-connections.ts'

const limitMs = 2_500

async function connectionTo(onRequest: RequestListener): Promise<Socket> {
  const idle = new IdleConnections(limitMs)
  const server = createServer({ keepAliveTimeout: 0 }, onRequest)
  server.on('connection', (socket) => idle.add(socket))
  server.on('upgrade', (_request, socket) => socket instanceof Socket && idle.leave(socket))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => undefined).resume()
  onTestFinished(() => {
    client.destroy()
    idle.close()
    server.close()
    server.closeAllConnections()
  })
  return client
}

const ask = (client: Socket, more = '') => client.write(`GET / HTTP/1.1\r\nHost: a\r\n${more}\r\n`)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a connection on which nothing more is asked is closed', async () => {
  const client = await connectionTo((_request, response) => response.end('ok'))
  ask(client)
  await once(client, 'data')
  await once(client, 'close')
})

test('one that is used now and then, waits for its answer, or is a WebSocket, is left alone', async () => {
  const used = await connectionTo((_request, response) => response.end('ok'))
  const slow = await connectionTo((_request, response) => void setTimeout(() => response.end('at last'), 2 * limitMs))
  const upgraded = await connectionTo(() => undefined)
  ask(upgraded, 'Connection: upgrade\r\nUpgrade: websocket\r\n')
  ask(slow)
  const answered = once(slow, 'data')
  for (let round = 0; round < 16; round++) {
    ask(used)
    await once(used, 'data')
    await pause(limitMs / 8)
  }
  expect(String((await answered)[0])).toContain('at last')
  expect([used, slow, upgraded].map(({ closed }) => closed)).toEqual([false, false, false])
})
