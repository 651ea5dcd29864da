import { once } from 'node:events'
import { createServer } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLog } from '../../registry/log.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { edgeProcesses } from '../../test/support/edge-process.ts'
import { TestRollout } from '../../test/support/edge-rollout.ts'
import { ConnectionCaps } from './connection-caps.ts'
import { TrustedProxies } from './trusted-proxies.ts'

let database: TestDatabase
let edge: TestEdge
const stranger = '127.0.0.1'
const proxy = '127.0.0.2'

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, {
    env: { ATELIER_TRUSTED_PROXIES: `${proxy}, 10.0.0.0/8, fd00::/8` },
    limits: { maxConnectionsPerClient: 5 },
  })
  const echo = `import { createServer } from 'node:http'
    const app = createServer((request, response) => response.end(JSON.stringify(request.headers)))
    app.on('upgrade', (request, socket) => socket.end('HTTP/1.1 403 No\\r\\nConnection: close\\r\\n\\r\\n' + JSON.stringify(request.headers)))
    app.listen(3000)`
  await edge.deploy('echo', { kind: 'server', server: { 'index.mjs': echo } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const claims = {
  'x-forwarded-proto': 'https',
  'x-forwarded-host': 'evil.com',
  'x-real-ip': '6.6.6.6',
  'cf-connecting-ip': '6.6.6.6',
  forwarded: 'for=6.6.6.6',
  'x-middleware-subrequest': 'x',
  'x-atelier-version': 'x',
}
const seenFrom = async (from: string, headers: Record<string, string>) =>
  JSON.parse((await edge.ask('echo', '/', { from, headers: { ...claims, ...headers } })).body)
const told = {
  forwarded: undefined,
  'x-middleware-subrequest': undefined,
  'x-atelier-version': undefined,
  'x-forwarded-host': 'echo.apps.localhost',
}

test('E3: what anybody says of themselves is replaced or dropped', async () => {
  const seen = await seenFrom(stranger, { 'x-forwarded-for': '10.0.0.1' })
  expect(seen).toMatchObject({ 'x-forwarded-for': stranger, 'x-forwarded-proto': 'http' })
  expect({ ...told, ...seen }).toMatchObject({ ...told, 'x-forwarded-for': stranger })
  expect(seen).not.toHaveProperty('x-real-ip')
  expect(seen).not.toHaveProperty('cf-connecting-ip')
})

test('E3: a trusted proxy is believed about its client and the protocol, and about nothing that is ours to say', async () => {
  const seen = await seenFrom(proxy, { 'x-forwarded-for': '1.2.3.4' })
  expect({ ...told, ...seen }).toMatchObject({
    ...told,
    'x-forwarded-for': '1.2.3.4',
    'x-forwarded-proto': 'https',
    'x-real-ip': '6.6.6.6',
    'cf-connecting-ip': '6.6.6.6',
  })
})

test.each([
  ['gateway.sock', 'git.localhost'],
  ['registry.sock', 'api.localhost'],
  ['registry.sock', 'console.localhost'],
])('E3: limits and the audit log go by the same client: %s as %s is told of it', async (socket, host) => {
  const part = createServer((request, response) => response.end(String(request.headers['x-forwarded-for'])))
  part.listen(join(edge.config.runDir, socket))
  await once(part, 'listening')
  const told = async (from: string) =>
    (await edge.ask(host, '/', { from, headers: { 'x-forwarded-for': '1.2.3.4' } })).body
  const seen = [await told(proxy), await told(stranger)]
  part.close()
  await once(part, 'close')
  expect(seen).toEqual(['1.2.3.4', stranger])
})

test('the cookie of a visitor who came by https, as a trusted proxy says, is kept for https', async () => {
  const page = { kind: 'static' as const, files: { 'index.html': '<p>a page</p>' } }
  await edge.deploy('secure', page)
  await TestRollout.begin(edge, 'secure', { ...page, files: { 'index.html': '<p>another</p>' } }, { percent: 50 })
  const cookieFrom = async (from: string) =>
    (await edge.ask('secure', '/', { from, headers: { 'x-forwarded-proto': 'https' } })).headers['set-cookie']?.[0]
  expect(await cookieFrom(proxy)).toMatch(/; Secure$/)
  expect(await cookieFrom(stranger)).toMatch(/; SameSite=Lax$/)
})

test.each([
  ['6.6.6.6, 1.2.3.4', '1.2.3.4'],
  ['6.6.6.6, 1.2.3.4, 10.9.9.9', '1.2.3.4'],
  ['6.6.6.6,1.2.3.4:5678 ,\t10.9.9.9:80', '1.2.3.4'],
  ['::ffff:1.2.3.4, fd00::1', '1.2.3.4'],
  ['[2001:db8::1]:443, [fd00::1]:443', '2001:db8::1'],
  ['10.1.1.1, 10.2.2.2', '10.1.1.1'],
  ['1.2.3.4, unknown', proxy],
  ['1.2.3.4, unknown, 10.2.2.2', '10.2.2.2'],
  ['1.2.3.4, <script>', proxy],
  ['fe80::1%eth0', proxy],
  ['', proxy],
  [' , ,, ', proxy],
])('E3: behind x-forwarded-for: %s of a trusted proxy is %s', async (forwardedFor, client) => {
  expect(await seenFrom(proxy, { 'x-forwarded-for': forwardedFor })).toMatchObject({ 'x-forwarded-for': client })
})

test.each(['http', 'ftp', 'https, http', ''])('E3: of the protocol %s is made http', async (protocol) => {
  expect(await seenFrom(proxy, { 'x-forwarded-proto': protocol })).toMatchObject({ 'x-forwarded-proto': 'http' })
})

test('E3: the same holds of handshakes', async () => {
  for (const [from, client] of [
    [stranger, stranger],
    [proxy, '1.2.3.4'],
  ] as const) {
    const socket = await edge.socket(from)
    const lines = ['GET / HTTP/1.1', 'Host: echo.apps.localhost', 'Connection: Upgrade', 'Upgrade: websocket']
    socket.write([...lines, 'X-Forwarded-For: 6.6.6.6, 1.2.3.4', 'X_Forwarded_For: 6.6.6.6', '', ''].join('\r\n'))
    const answer = String(await buffer(socket))
    expect(answer).toContain(`"x-forwarded-for":"${client}"`)
    expect(answer).not.toContain('6.6.6.6')
  }
})

describe('connections at a time', () => {
  test('E5: one client gets so many and a 503 for more, until it closes one; others and trusted proxies are served', async () => {
    await expect.poll(() => edgeProcesses(edge.port).open).toBe(0)
    const held = await Promise.all(Array.from({ length: 5 }, () => edge.socket(stranger)))
    expect(await edge.ask('echo', '/', { from: '127.0.0.3' })).toMatchObject({ status: 200 })
    const refused = await edge.socket(stranger)
    refused.write('GET / HTTP/1.1\r\nHost: echo.apps.localhost\r\n\r\n')
    const answer = String(await buffer(refused))
    expect(answer).toMatch(/^HTTP\/1\.1 503 /)
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(answer).toContain('TOO_MANY_CONNECTIONS')

    const many = await Promise.all(Array.from({ length: 10 }, () => edge.socket(proxy)))
    expect(await edge.ask('echo', '/', { from: proxy })).toMatchObject({ status: 200 })
    const closed = once(held[0] ?? refused, 'close')
    held[0]?.destroy()
    await closed
    await expect.poll(() => edge.ask('echo', '/').then(({ status }) => status)).toBe(200)
    for (const socket of [...held, ...many]) socket.destroy()
  })

  test('E5: of IPv6 a client is a /64 network, however its addresses are written', () => {
    const caps = new ConnectionCaps(2, { trusted: new TrustedProxies([]), log: createLog('proxy') })
    const from = (address: string) => Object.defineProperty(new Socket(), 'remoteAddress', { value: address })
    expect(caps.admit(from('2001:db8::1'))).toBe(true)
    expect(caps.admit(from('2001:db8:0:0:ffff:1:2:3'))).toBe(true)
    expect(caps.admit(from('2001:db8::2'))).toBe(false)
    expect(caps.admit(from('2001:db8:0:1::1'))).toBe(true)
    expect(caps.admit(from('::ffff:10.0.0.1'))).toBe(true)
    expect(caps.admit(from('::ffff:10.0.0.2'))).toBe(true)
    expect(caps.admit(from('10.0.0.1'))).toBe(true)
    expect(caps.admit(from('10.0.0.1'))).toBe(false)
  })
})
