import { once } from 'node:events'
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { EgressRule } from '../../registry/config.ts'
import { Egress, type EgressDeps, type EgressSettings } from '../../registry/egress/egress.ts'
import { readHostProxy } from '../../registry/egress/host-proxy.ts'
import { openOnLoopback } from '../../test/support/loopback-only.ts'
import { EgressRelay, type RelayLimits, type RelaySession, relayLimits } from './egress-proxy.ts'

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

async function listening<Kind extends Server | HttpServer>(server: Kind, host = '127.0.0.1'): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  opened.push(() => server.close())
  return (server.address() as AddressInfo).port
}

const passes = (address: string, port: number): EgressRule => ({
  kind: 'network',
  address,
  prefix: 32,
  family: 'ipv4',
  port,
})

type RelayOptions = Partial<EgressSettings> & Partial<EgressDeps> & { limits?: Partial<RelayLimits> }

async function openRelay({
  limits,
  rules = [],
  hostProxy = readHostProxy({}),
  ...egress
}: RelayOptions = {}): Promise<{ session: RelaySession; port: number; said: string[] }> {
  const server = createServer()
  const port = await listening(server)
  const said: string[] = []
  const relay = new EgressRelay(server, {
    egress: new Egress({
      settings: () => ({ rules, hostProxy }),
      resolve: async () => [],
      open: openOnLoopback,
      ...egress,
    }),
    limits: { ...relayLimits, ...limits },
  })
  opened.push(() => relay.close())
  const session = relay.begin((sentence) => said.push(sentence))
  return { session, port, said }
}

function dial(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => socket.destroy())
  opened.push(() => socket.destroy())
  return socket
}

/** What a relay says to these bytes until it closes the connection, or has said a whole head. */
async function say(port: number, bytes: string | Buffer): Promise<string> {
  const socket = dial(port)
  socket.write(bytes)
  let heard = ''
  for await (const chunk of socket) {
    heard += String(chunk)
    if (heard.includes('\r\n\r\n')) break
  }
  return heard
}

async function echo(): Promise<number> {
  return listening(createServer((socket) => void socket.on('error', () => socket.destroy()).pipe(socket)))
}

describe('the relay', () => {
  test('carries a tunnel both ways, to its end, and counts it', async () => {
    const to = await echo()
    const { session, port } = await openRelay({ rules: [passes('127.0.0.1', to)] })
    const socket = dial(port)
    const payload = Buffer.alloc(3_000_000, 'x')
    socket.write(`CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)
    socket.end(payload)
    const heard = await text(socket)
    expect(heard).toMatch(/^HTTP\/1\.1 200 /)
    expect(heard.length - heard.indexOf('\r\n\r\n') - 4).toBe(payload.length)
    expect(session.use()).toEqual({ received: payload.length, sent: payload.length })
  })

  test('carries requests for http:// as they are, but for what is between neighbours', async () => {
    const seen: unknown[] = []
    const to = await listening(
      createHttpServer(async (asked, response) => {
        seen.push([asked.method, asked.url, asked.headers, await text(asked)])
        response.writeHead(201, 'Made', { 'set-cookie': ['a=1', 'b=2'], 'proxy-status': 'x' }).end('made it')
      }),
    )
    const { port } = await openRelay({ rules: [passes('127.0.0.1', to)] })
    const socket = dial(port)
    socket.write(
      `DELETE http://127.0.0.1:${to}/a%20b?c=d HTTP/1.1\r\nHost: elsewhere\r\nProxy-Authorization: Basic eDp5\r\nConnection: close, X-Mine\r\n` +
        'X-Mine: 1\r\nX-Kept: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    )
    const heard = await text(socket)
    expect(heard).toMatch(/^HTTP\/1\.1 201 Made\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n/)
    expect(heard).toContain('made it')
    expect(heard).not.toContain('proxy-status')
    expect(seen).toEqual([
      [
        'DELETE',
        '/a%20b?c=d',
        { 'x-kept': '2', 'transfer-encoding': 'chunked', host: `127.0.0.1:${to}`, connection: 'close' },
        'hello',
      ],
    ])
  })

  test('a second request hidden in the body of the first stays in the body', async () => {
    const asked: (string | undefined)[] = []
    const to = await listening(
      createHttpServer((request, response) => {
        asked.push(request.url)
        request.resume().on('end', () => response.end('ok'))
      }),
    )
    const { port } = await openRelay({ rules: [passes('127.0.0.1', to)] })
    const hidden = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
    const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
    for (const method of ['DELETE', 'OPTIONS', 'POST', 'GET'])
      await say(
        port,
        `${method} http://127.0.0.1:${to}/plain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`,
      )
    const both = `POST http://127.0.0.1:${to}/plain HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`
    expect(await say(port, both)).toMatch(/^HTTP\/1\.1 400 /)
    expect(asked).toEqual(['/plain', '/plain', '/plain', '/plain'])
  })

  test('an answer that is malformed ends that request only', async () => {
    for (const answer of [
      'HTTP/1.1 099 No\r\n\r\n',
      'nonsense\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut',
      '',
    ]) {
      const to = await listening(createServer((socket) => void socket.on('error', () => socket.destroy()).end(answer)))
      const { port } = await openRelay({ rules: [passes('127.0.0.1', to)] })
      const heard = await say(port, `GET http://127.0.0.1:${to}/ HTTP/1.1\r\nHost: x\r\n\r\n`)
      expect(heard).toMatch(/^$|^HTTP\/1\.1 (502|200) /)
      expect(await say(port, `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    }
  })

  test('goes through the host’s own proxy where there is one, with its credentials, and not for what is excepted', async () => {
    const to = await echo()
    const asked: unknown[] = []
    const proxy = createHttpServer()
    proxy.on('connect', (request, socket) => {
      asked.push([request.url, request.headers['proxy-authorization']])
      if (request.url?.startsWith('refused')) return void socket.end('HTTP/1.1 407 Credentials\r\n\r\n')
      const outside = connect(to, '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\nfirst'))
      outside.pipe(socket).pipe(outside)
    })
    const at = await listening(proxy)
    const hostProxy = readHostProxy({
      HTTPS_PROXY: `http://me:p%40ss@127.0.0.1:${at}`,
      NO_PROXY: `.inside.example,127.0.0.1`,
    })
    const resolve = async (name: string) =>
      name === 'private.example' ? ['10.0.0.1'] : Promise.reject(new Error('no DNS'))
    const { port } = await openRelay({ hostProxy, resolve, rules: [passes('127.0.0.1', to)] })
    const socket = dial(port)
    socket.end('CONNECT far.example:443 HTTP/1.1\r\n\r\nsecond')
    expect(await text(socket)).toMatch(/\r\n\r\nfirstsecond$/)
    expect(asked).toEqual([['far.example:443', `Basic ${Buffer.from('me:p@ss').toString('base64')}`]])
    expect(await say(port, 'CONNECT refused.example:443 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 502 .*answered 407/)
    expect(await say(port, 'CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 403 /)
    expect(await say(port, 'CONNECT private.example:443 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 403 /)
    expect(await say(port, 'CONNECT far.inside.example:443 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 502 /)
    expect(await say(port, `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    expect(asked).toHaveLength(2)
  })
})

describe('B3 W2 through the relay', () => {
  const own = Object.entries(networkInterfaces())
    .flatMap(([name, found]) => (name.startsWith('atl') ? [] : (found ?? [])))
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)

  test('what listens on this host, under any spelling of any of its addresses, is refused at once; the same connect works outside', async () => {
    const greeter = () => createServer((socket) => void socket.on('error', () => socket.destroy()).end('hello'))
    const on4 = await listening(greeter(), '0.0.0.0')
    const on6 = await listening(greeter(), '::')
    const { port, session } = await openRelay()
    const spellings = [
      '127.0.0.1',
      '127.0.0.2',
      '127.1',
      '0',
      '0x7f.1',
      '0x7f000001',
      '2130706433',
      '0177.0.0.1',
      '127.0.0.1.',
      ...own,
    ]
    for (const host of spellings) expect(await refusal(port, `${host}:${on4}`)).toBeLessThan(2000)
    for (const host of ['[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:0:0:1]', '[::]'])
      expect(await refusal(port, `${host}:${on6}`)).toBeLessThan(2000)
    expect(session.use()).toEqual({ received: 0, sent: 0 })

    for (const host of ['127.0.0.1', '127.0.0.2', ...own]) expect(await text(connect(on4, host))).toBe('hello')
    for (const host of ['::1', '::ffff:127.0.0.1']) expect(await text(connect(on6, host))).toBe('hello')
  })

  test.each([
    ...[
      '169.254.169.254:80',
      '10.0.0.1:6379',
      '10.255.255.255:443',
      '172.16.0.1:5432',
      '172.31.0.1:80',
      '192.168.0.1:9000',
    ],
    ...['100.64.0.1:443', '198.18.0.1:443', '224.0.0.1:80', '255.255.255.255:80', '[fd00::1]:443', '[fe80::1]:443'],
    ...['[64:ff9b::a00:1]:443', '[2002:a00:1::]:443', '[::a00:1]:443', '[ff02::1]:80', 'localhost:80'],
  ])('%s is refused at once, by CONNECT and as http://', async (place) => {
    const { port, said } = await openRelay({ resolve: async () => ['127.0.0.1'] })
    expect(await refusal(port, place)).toBeLessThan(2000)
    expect(said).toEqual([expect.stringMatching(/ is .*ATELIER_EGRESS_ALLOW/)])
  })

  test('ports other than the web’s are refused, unless a rule names them', async () => {
    const { port } = await openRelay()
    expect(await say(port, 'CONNECT 203.0.113.7:25 HTTP/1.1\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 403 203\.0\.113\.7:25 is on a port other than 80 and 443; .*ATELIER_EGRESS_ALLOW/,
    )
  })

  test('a name is resolved once, and what was checked is what is connected to', async () => {
    const to = await echo()
    const answers = [['10.0.0.1', '127.0.0.1'], ['10.0.0.1']]
    let asked = 0
    const resolve = async () => answers[asked++] ?? []
    const { port, said } = await openRelay({ resolve, rules: [passes('127.0.0.1', to)] })
    expect(await say(port, `CONNECT turns.example:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    expect(asked).toBe(1)
    expect(await say(port, `CONNECT turns.example:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 403 /)
    expect(said).toEqual([expect.stringContaining(`turns.example:${to} (10.0.0.1) is a private address`)])
  })

  test('a place that a rule names passes, whatever it resolves to, on the port it names', async () => {
    const to = await echo()
    const rules: EgressRule[] = [{ kind: 'host', host: 'localhost', port: to }]
    const { port } = await openRelay({ rules })
    expect(await say(port, `CONNECT LOCALHOST:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    expect(await say(port, `CONNECT localhost.:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    expect(await say(port, 'CONNECT localhost:80 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 (403|502) /)
  })

  async function refusal(port: number, place: string): Promise<number> {
    const started = performance.now()
    const tunnel = await say(port, `CONNECT ${place} HTTP/1.1\r\n\r\n`)
    const plain = await say(port, `GET http://${place}/ HTTP/1.1\r\nHost: x\r\n\r\n`)
    expect([place, tunnel]).toEqual([place, expect.stringMatching(/^HTTP\/1\.1 403 .*ATELIER_EGRESS_ALLOW/)])
    expect([place, plain]).toEqual([place, expect.stringMatching(/^HTTP\/1\.1 403 .*ATELIER_EGRESS_ALLOW/)])
    return performance.now() - started
  }
})

describe('a hostile client', () => {
  test('with a target that is none is told so', async () => {
    const { port } = await openRelay()
    const targets = [
      'example.com',
      'example.com:0',
      'example.com:65536',
      'example.com:99999999',
      ':443',
      '/',
      '*',
      'http://example.com/',
    ]
    const more = [
      'me@example.com:443',
      'exa mple:443',
      '[fe80::1%25eth0]:443',
      '[fe80::1%eth0]:443',
      '[::1:443',
      '[]:443',
      'a%00b:443',
      'exämple:443',
    ]
    for (const target of [...targets, ...more])
      expect([target, await say(port, `CONNECT ${target} HTTP/1.1\r\n\r\n`)]).toEqual([
        target,
        expect.stringMatching(/^HTTP\/1\.1 400 /),
      ])
    const urls = [
      '/',
      'http://',
      'http://me:pw@example.com/',
      'http://example.com:65536/',
      'http://example.com:0/',
      'https://example.com/',
      'ftp://example.com/',
    ]
    for (const url of urls)
      expect([url, await say(port, `GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`)]).toEqual([
        url,
        expect.stringMatching(/^HTTP\/1\.1 400 /),
      ])
  })

  test('with garbage, headers without end or a connection that says nothing is cut off, and others are served', async () => {
    const to = await echo()
    const { port } = await openRelay({
      rules: [passes('127.0.0.1', to)],
      limits: { headersTimeoutMs: 1_500, idleTimeoutMs: 4_000 },
    })
    const silent = dial(port)
    const slow = dial(port)
    slow.write('CONNECT 127.0.0.1:80 HTTP/1.1\r\nX-A: ')
    const lonely = dial(port)
    lonely.write(`CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)
    expect(await say(port, `GET http://x/ HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 400 /)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
        const socket = dial(port)
        socket.end(Buffer.concat([Buffer.from(bytes), Buffer.from('\r\n\r\n')]))
        await text(socket)
      }),
      { numRuns: 50 },
    )
    for (const socket of [silent, slow, lonely]) {
      socket.resume()
      if (!socket.readableEnded) await once(socket, 'end')
    }
    expect(await say(port, `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('that opens thousands of connections gets as many as it may have, and the relay goes on', async () => {
    const to = await echo()
    const { port } = await openRelay({ rules: [passes('127.0.0.1', to)], limits: { connections: 20 } })
    const sockets = Array.from({ length: 2000 }, () => dial(port).resume())
    // The kernel keeps some that it has answered and the relay has not accepted, so not every other one is seen to end.
    await expect.poll(() => sockets.filter(({ readableEnded }) => readableEnded).length).toBeGreaterThan(1000)
    for (const socket of sockets) socket.destroy()
    await expect.poll(() => say(port, `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('of a build that is over is cut off, and the next build has a count of its own', async () => {
    const to = await echo()
    const server = createServer()
    const port = await listening(server)
    const egress = new Egress({ settings: () => ({ rules: [passes('127.0.0.1', to)], hostProxy: readHostProxy({}) }) })
    const relay = new EgressRelay(server, { egress })
    opened.push(() => relay.close())
    const hello = `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\nhello`
    expect(await say(port, hello)).toBe('')

    const first = relay.begin(() => undefined)
    const socket = dial(port)
    socket.write(hello)
    await expect.poll(() => first.use().received).toBe(5)
    const ended = once(socket.resume(), 'end')
    first.end()
    await ended
    const second = relay.begin(() => undefined)
    expect(second.use()).toEqual({ received: 0, sent: 0 })
    expect(await say(port, hello)).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('that leaves while it is being connected leaves nothing behind', async () => {
    const found = Promise.withResolvers<string[]>()
    const to = await echo()
    const { port, session } = await openRelay({ resolve: () => found.promise, rules: [passes('127.0.0.1', to)] })
    const socket = dial(port)
    socket.write(`CONNECT slow.example:${to} HTTP/1.1\r\n\r\n`)
    await once(socket, 'connect')
    socket.destroy()
    found.resolve(['127.0.0.1'])
    expect(await say(port, `CONNECT 127.0.0.1:${to} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
    expect(session.use()).toEqual({ received: 0, sent: 0 })
  })
})
