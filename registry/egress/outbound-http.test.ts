import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { openOnLoopback } from '../../test/support/loopback-only.ts'
import type { EgressRule } from '../config.ts'
import type { EgressDeps } from './egress.ts'
import { readHostProxy } from './host-proxy.ts'
import { OutboundHttp, type OutboundRequest } from './outbound-http.ts'

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

async function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
  })
  server.listen(0, host)
  await once(server, 'listening')
  opened.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

const serve = (listener: RequestListener) => listening(createHttpServer(listener))
const speak = (onSocket: (socket: Socket) => void) => listening(createServer(onSocket))

const passes = (port: number): EgressRule => ({
  kind: 'network',
  address: '127.0.0.1',
  prefix: 32,
  family: 'ipv4',
  port,
})

function client({ rules = [], ...deps }: Partial<EgressDeps> & { rules?: EgressRule[] } = {}): OutboundHttp {
  return new OutboundHttp({
    settings: () => ({ rules, hostProxy: readHostProxy({}) }),
    resolve: async () => [],
    open: openOnLoopback,
    ...deps,
  })
}

const get = (http: OutboundHttp, url: string, more: Partial<OutboundRequest> = {}) => http.send({ url, ...more })

async function certificateFor(name: string): Promise<{ cert: string; key: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'atelier-certificate-'))
  opened.push(() => rm(directory, { recursive: true }))
  const [key, cert] = [join(directory, 'key'), join(directory, 'cert')]
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`]
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
  await promisify(execFile)('openssl', ['req', ...made, ...subject, '-keyout', key, '-out', cert])
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') }
}

/** A DNS server that gives the next of its answers each time it is asked for an address, good for no time at all. */
async function turningDns(
  answers: string[],
): Promise<{ resolve: (name: string) => Promise<string[]>; asked: () => number }> {
  const server = createSocket('udp4')
  let asked = 0
  server.on('message', (question, from) => {
    const address = answers[Math.min(asked, answers.length - 1)] ?? ''
    asked += 1
    const head = Buffer.concat([question.subarray(0, 2), Buffer.from('81800001000100000000', 'hex')])
    const record = Buffer.from('c00c00010001000000000004', 'hex')
    const end = question.indexOf(0, 12) + 5
    server.send(
      Buffer.concat([head, question.subarray(12, end), record, Buffer.from(address.split('.').map(Number))]),
      from.port,
      from.address,
    )
  })
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  opened.push(() => server.close())
  const resolver = new Resolver()
  resolver.setServers([`127.0.0.1:${server.address().port}`])
  return { resolve: (name) => resolver.resolve4(name), asked: () => asked }
}

describe('what the platform calls', () => {
  test('gets method, headers and body, and its answer comes back', async () => {
    const seen: unknown[] = []
    const port = await serve(async (request, response) => {
      seen.push([request.method, request.url, request.headers['x-mine'], request.headers.host, await text(request)])
      response.writeHead(201, { 'x-theirs': 'yes' }).end('made it')
    })
    const http = client({ rules: [passes(port)] })
    const answer = await get(http, `http://127.0.0.1:${port}/a%20b?c=d`, {
      method: 'POST',
      headers: { 'X-Mine': '1' },
      body: 'hello ✓',
    })
    expect(answer).toMatchObject({ status: 201, headers: { 'x-theirs': 'yes' }, isWhole: true })
    expect(answer.body.toString()).toBe('made it')
    expect(seen).toEqual([['POST', '/a%20b?c=d', '1', `127.0.0.1:${port}`, 'hello ✓']])
  })

  test('is followed where it redirects, three times, without secrets to another origin', async () => {
    const seen: unknown[] = []
    const end = await serve(async (request, response) => {
      seen.push([request.method, request.headers.authorization, request.headers['x-mine'], await text(request)])
      response.end()
    })
    const port = await serve((request, response) => {
      const left = Number(request.url?.slice(1))
      const location = left > 1 ? `/${left - 1}` : `http://127.0.0.1:${end}/`
      request.resume().on('end', () => response.writeHead(left === 1 ? 307 : 302, { location }).end())
    })
    const http = client({ rules: [passes(port), passes(end)] })
    const post = { method: 'POST', headers: { authorization: 'secret', 'x-mine': '1' }, body: 'kept' } as const
    const answer = await get(http, `http://127.0.0.1:${port}/3`, post)
    expect(answer).toMatchObject({ status: 200, url: `http://127.0.0.1:${end}/` })
    expect(seen).toEqual([['POST', undefined, '1', 'kept']])
    await expect(get(http, `http://127.0.0.1:${port}/4`, post)).rejects.toMatchObject({
      code: 'OUTBOUND_FAILED',
      message: expect.stringContaining('redirects more often than 3 times'),
    })
    expect(seen).toHaveLength(1)
  })

  test('is asked with GET after a 303', async () => {
    const seen: unknown[] = []
    const port = await serve(async (request, response) => {
      seen.push([request.method, request.url, await text(request)])
      if (request.url === '/') response.writeHead(303, { location: '/done' })
      response.end()
    })
    const answer = await get(client({ rules: [passes(port)] }), `http://127.0.0.1:${port}/`, {
      method: 'POST',
      body: 'x',
    })
    expect(answer.status).toBe(200)
    expect(seen).toEqual([
      ['POST', '/', 'x'],
      ['GET', '/done', ''],
    ])
  })

  test('is who its certificate names, by one that is trusted', async () => {
    const { cert, key } = await certificateFor('receiver.example')
    const port = await listening(createHttpsServer({ cert, key }, (_request, response) => response.end('safe')))
    const resolve = async () => ['127.0.0.1']
    const http = (ca: string) =>
      new OutboundHttp({
        settings: () => ({ rules: [passes(port)], hostProxy: readHostProxy({}) }),
        resolve,
        open: openOnLoopback,
        ca,
      })
    expect((await get(http(cert), `https://receiver.example:${port}/`)).body.toString()).toBe('safe')
    await expect(get(http(cert), `https://other.example:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_FAILED',
      message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    })
    const { cert: stranger } = await certificateFor('receiver.example')
    await expect(get(http(stranger), `https://receiver.example:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_FAILED',
    })
  })

  test.each([
    'ftp://example.com/',
    'file:///etc/passwd',
    'http://me:pw@example.com/',
    'nonsense',
    'http://',
    'http://a:0/',
  ])('is no %s', async (url) => {
    await expect(get(client(), url)).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  })
})

describe('W2: the platform calls no address of the inside', () => {
  const spellings = [
    ...['127.0.0.1', '127.0.0.2', '127.1', '0', '0x7f.1', '0x7f000001', '2130706433', '0177.0.0.1', '127.0.0.1.'],
    ...['[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:0:0:1]', '[::]', 'localhost', 'LOCALHOST.'],
  ]

  test('however it is written, though something listens there', async () => {
    let connections = 0
    const count = () => {
      connections += 1
    }
    const on4 = await listening(createServer(count), '0.0.0.0')
    const on6 = await listening(createServer(count), '::')
    const http = client({ resolve: async () => ['127.0.0.1'] })
    for (const host of spellings)
      for (const scheme of ['http', 'https'])
        await expect(get(http, `${scheme}://${host}:${host.startsWith('[') ? on6 : on4}/`), host).rejects.toMatchObject(
          { code: 'OUTBOUND_REFUSED', message: expect.stringContaining('ATELIER_OUTBOUND_ALLOW') },
        )
    expect(connections).toBe(0)
    connect(on4, '127.0.0.1').on('error', count)
    connect(on6, '::1').on('error', count)
    await expect.poll(() => connections).toBe(2)
  })

  test.each([
    ...['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.0.1', '100.64.0.1', '169.254.169.254', '0xa9fea9fe'],
    ...['2852039166', '0251.0376.0251.0376', '198.18.0.1', '224.0.0.1', '[fd00::1]', '[fe80::1]', '[64:ff9b::a00:1]'],
    ...['[::ffff:a9fe:a9fe]', '[2002:a00:1::]', '[::a00:1]', '255.255.255.255'],
  ])('not %s', async (host) => {
    await expect(get(client(), `http://${host}/`)).rejects.toMatchObject({ code: 'OUTBOUND_REFUSED' })
  })

  test('not by a redirect', async () => {
    let connections = 0
    const inside = await speak((socket) => {
      connections += 1
      socket.end()
    })
    for (const location of [
      `http://127.0.0.1:${inside}/`,
      `//2130706433:${inside}/`,
      'http://169.254.169.254/latest/',
    ]) {
      const port = await serve((_request, response) => response.writeHead(302, { location }).end())
      const http = client({ rules: [passes(port)] })
      await expect(get(http, `http://127.0.0.1:${port}/`), location).rejects.toMatchObject({ code: 'OUTBOUND_REFUSED' })
    }
    for (const location of ['file:///etc/passwd', 'http://me:pw@127.0.0.1/', 'gopher://x/']) {
      const port = await serve((_request, response) => response.writeHead(302, { location }).end())
      await expect(get(client({ rules: [passes(port)] }), `http://127.0.0.1:${port}/`)).rejects.toMatchObject({
        code: 'OUTBOUND_FAILED',
      })
    }
    expect(connections).toBe(0)
  })

  test('not by a name that answers something else a moment later', async () => {
    const outside = '203.0.113.7'
    const called: string[][] = []
    const open: EgressDeps['open'] = (addresses, options) => {
      called.push(addresses)
      const found = [{ address: '127.0.0.1', family: 4 }]
      return openOnLoopback(['127.0.0.1'], { ...options, lookup: (_name, _how, done) => done(null, found) })
    }
    let connections = 0
    const port = await speak((socket) => {
      connections += 1
      socket.end('HTTP/1.1 200 OK\r\n\r\n')
    })
    const dns = await turningDns([outside, '127.0.0.1'])
    // It is asked once, so what was checked is what is connected to; and a connection that ended elsewhere all the same is not used.
    await expect(get(client({ resolve: dns.resolve, open }), `http://turns.example:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_FAILED',
      message: expect.stringContaining('went to 127.0.0.1'),
    })
    expect([dns.asked(), called, connections]).toEqual([1, [[outside]], 1])
    await expect(get(client({ resolve: dns.resolve, open }), `http://turns.example:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_REFUSED',
      message: expect.stringContaining('is a loopback address'),
    })
    expect([dns.asked(), called.length, connections]).toEqual([2, 1, 1])
  })

  test('nor by a name that turns between a request and its redirect', async () => {
    const port = await serve((_request, response) => response.writeHead(307, { location: '/again' }).end('first'))
    const dns = await turningDns(['127.0.0.1', '10.0.0.1'])
    const http = client({ rules: [passes(port)], resolve: dns.resolve })
    await expect(get(http, `http://turns.example:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_REFUSED',
      message: expect.stringContaining('(10.0.0.1) is a private address'),
    })
    expect(dns.asked()).toBe(2)
  })

  test('but the one the operator has named', async () => {
    const port = await serve((_request, response) => response.end('hello'))
    const http = client({ rules: [{ kind: 'host', host: 'localhost', port }] })
    expect((await get(http, `http://localhost:${port}/`)).body.toString()).toBe('hello')
    await expect(get(http, `http://127.0.0.1:${port}/`)).rejects.toMatchObject({ code: 'OUTBOUND_REFUSED' })
  })
})

describe('W2: a bad receiver takes ten seconds and 64 kB at most', () => {
  test('one that says nothing, or a head without end, is given up', async () => {
    const silent = await speak((socket) => void socket.resume())
    const endless = await speak((socket) => {
      const more = () => socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(20), () => setImmediate(more))
      socket.once('data', more)
    })
    for (const port of [silent, endless])
      await expect(
        client({ rules: [passes(port)] }).send({ url: `http://127.0.0.1:${port}/` }, { timeoutMs: 300 }),
      ).rejects.toMatchObject({ code: 'OUTBOUND_FAILED', message: expect.stringContaining('within 0.3 s') })
  })

  test('of a body without end the first 64 kB are read, and the connection is ended', async () => {
    const closed = Promise.withResolvers<void>()
    const port = await serve((_request, response) => {
      const chunk = Buffer.alloc(16_384, 'x')
      const more = () => !response.destroyed && response.write(chunk, () => setImmediate(more))
      response.on('close', () => closed.resolve())
      more()
    })
    const answer = await get(client({ rules: [passes(port)] }), `http://127.0.0.1:${port}/`)
    expect([answer.status, answer.body.length, answer.isWhole]).toEqual([200, 65_536, false])
    await closed.promise
  })

  test('a body that stops in the middle, or is cut, leaves the status', async () => {
    const stops = await serve((_request, response) => void response.writeHead(200).write('half'))
    const cut = await speak((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'))
    })
    for (const port of [stops, cut]) {
      const http = client({ rules: [passes(port)] })
      const answer = await http.send({ url: `http://127.0.0.1:${port}/` }, { timeoutMs: 500 })
      expect([answer.status, answer.body.toString(), answer.isWhole]).toEqual([200, 'half', false])
    }
  })

  test.each([
    'HTTP/1.1 099 No\r\n\r\n',
    'nonsense\r\n\r\n',
    '',
    `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(100_000)}\r\n\r\n`,
  ])('what is no answer is an error: %.20j', async (said) => {
    const port = await speak((socket) => void socket.once('data', () => socket.end(said)))
    await expect(get(client({ rules: [passes(port)] }), `http://127.0.0.1:${port}/`)).rejects.toMatchObject({
      code: 'OUTBOUND_FAILED',
    })
  })

  test('whoever called and leaves ends it at once', async () => {
    const port = await speak((socket) => void socket.resume())
    const left = new AbortController()
    const calling = get(client({ rules: [passes(port)] }), `http://127.0.0.1:${port}/`, { signal: left.signal })
    left.abort(new Error('left'))
    await expect(calling).rejects.toThrow('left')
  })
})
