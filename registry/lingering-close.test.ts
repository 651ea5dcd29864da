import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { closeLingering, type LingerLimits } from './lingering-close.ts'

const patient: LingerLimits = { silenceMs: 60_000, mostMs: 60_000, mostBytes: 1e9 }
const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
let client: Socket
let served: Socket
let closed: Promise<unknown>

beforeEach(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const accepted = once(server, 'connection')
  client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => undefined)
  ;[served] = await accepted
  served.on('error', () => undefined)
  closed = new Promise((resolve) => served.on('close', resolve))
})

afterEach(async () => {
  client.destroy()
  await closed
  await new Promise((resolve) => server.close(resolve))
})

/** Sends again and again, from now on until the connection is closed. */
function keepSending(bytes: string): void {
  const timer = setInterval(() => client.writable && client.write(bytes), 20)
  client.once('close', () => clearInterval(timer))
}

test('the answer is there while the client still sends, and the connection is over when the client ends it', async () => {
  client.write('x'.repeat(1_000_000))
  closeLingering(served, 'the last word', patient)
  let heard = ''
  client.on('data', (data) => {
    heard += data
  })
  await once(client, 'end')
  expect(heard).toBe('the last word')
  expect(served.destroyed).toBe(false)
  client.end('y'.repeat(1_000_000))
  await closed
  expect(served.bytesRead).toBe(2_000_000)
})

test('E5: it is over when nothing comes', async () => {
  closeLingering(served, 'the last word', { ...patient, silenceMs: 100 })
  await closed
})

test('E5: it is over in time when something always comes', async () => {
  keepSending('x')
  closeLingering(served, 'the last word', { ...patient, silenceMs: 1_000, mostMs: 1_500 })
  await closed
  expect(served.bytesRead).toBeGreaterThan(0)
})

test('E5: it is over when too much comes', async () => {
  keepSending('x'.repeat(10_000))
  closeLingering(served, 'the last word', { ...patient, mostBytes: 100_000 })
  await closed
  expect(served.bytesRead).toBeGreaterThan(100_000)
})
