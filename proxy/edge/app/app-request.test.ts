import { once } from 'node:events'
import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

// Says back what it was asked, and misbehaves on request.
const echo = `
import { createServer } from 'node:http'
const state = { born: process.hrtime.bigint().toString(), aborted: 0, open: 0 }
const server = createServer((request, response) => {
  const path = request.url.split('?')[0]
  if (path === '/state') return response.end(JSON.stringify(state))
  if (path === '/slow-body') {
    state.open++
    response.on('close', () => { state.open--; if (!response.writableFinished) state.aborted++ })
    response.write('started')
    return
  }
  if (path === '/silent') {
    state.open++
    response.on('close', () => { state.open--; state.aborted++ })
    return
  }
  if (path === '/exit') process.exit(7)
  if (path === '/early') { response.writeHead(403, { connection: 'close' }); return response.end('no') }
  if (path === '/cookies') {
    response.setHeader('set-cookie', ['a=1; Path=/', 'evil=1; Domain=apps.localhost', 'worse=1; domain=.localhost', 'own=1; Domain=echo.apps.localhost'])
    response.setHeader('x-atelier-deployment', 'forged')
    response.setHeader('connection', 'x-internal')
    response.setHeader('x-internal', 'secret')
    return response.end('cookies')
  }
  if (path === '/trailers') {
    response.writeHead(200, { trailer: 'x-sum' })
    response.write('body')
    response.addTrailers({ 'x-sum': '42' })
    return response.end()
  }
  if (path === '/trailers-forgotten') { response.writeHead(200, { trailer: 'x-sum' }); return response.end('body') }
  if (path === '/silence') {
    response.writeHead(200, { 'x-latin1': 'caf\\u00e9', 'x-utf8': Buffer.from('café ☕').toString('latin1') })
    response.write('', 'latin1')
    return setTimeout(() => response.end('after silence'), 50)
  }
  if (path === '/204') { response.writeHead(204); return response.end() }
  if (path === '/hints') {
    response.writeInformation(102)
    response.writeInformation(103, {
      link: '</a.css>; rel=preload', 'x-name': 'caf\u00e9',
    })
    response.writeInformation(103, {
      link: '</b.css>; rel=preload', connection: 'x-internal', 'x-internal': 'secret', 'content-length': '9',
      'set-cookie': 'a=1', 'x-atelier-deployment': 'forged', 'cache-tag': 'a',
    })
    return response.end('after hints')
  }
  let bytes = 0
  request.on('data', (chunk) => { bytes += chunk.length })
  request.on('end', () => response.end(JSON.stringify({ method: request.method, url: request.url, raw: request.rawHeaders, bytes })))
})
server.listen(3000)
`

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { maxBodyBytes: 1_000_000 } })
  await edge.deploy('echo', { kind: 'server', server: { 'index.mjs': echo } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

test('headers that come before a silence arrive byte for byte', async () => {
  const lines = ['GET /silence HTTP/1.1', 'Host: echo.apps.localhost', 'Connection: close', '', '']
  const answer = await edge.raw(lines.join('\r\n'))
  expect(answer).toContain('x-latin1: caf\xe9\r\n')
  expect(Buffer.from(/\r\nx-utf8: (.*)\r\n/.exec(answer)?.[1] ?? '', 'latin1').toString()).toBe('café ☕')
  expect(answer).toContain('after silence')
})

type Echoed = { method: string; url: string; raw: string[]; bytes: number }

function headersOf({ raw }: Echoed): [string, string][] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? '']] : []))
}

const state = async () => JSON.parse((await edge.ask('echo', '/state')).body)
const request = (lines: string[]) => edge.raw([...lines, '', ''].join('\r\n'))

describe('what an app is told', () => {
  test('E3: the client, protocol and host come from the edge, whatever the client says of them', async () => {
    const answer = await edge.ask('echo', '/a/../b?c=%20d', {
      headers: {
        'x-forwarded-for': '6.6.6.6',
        'x-forwarded-host': 'evil.com',
        'x-forwarded-proto': 'https',
        'x-forwarded-port': '1',
        forwarded: 'for=6.6.6.6',
        'x-real-ip': '6.6.6.6',
        'x-atelier-version': 'abc',
        'x-atelier-anything': '1',
        'x-middleware-subrequest': 'middleware',
        x_forwarded_for: '6.6.6.6',
        'x_forwarded-host': 'evil.com',
        x_atelier_version: 'abc',
        x_real_ip: '6.6.6.6',
        transfer_encoding: 'chunked',
        x_own: 'kept',
        'proxy-authorization': 'Basic x',
        accept: 'a/b',
      },
    })
    const echoed: Echoed = JSON.parse(answer.body)
    expect(echoed.url).toBe('/a/../b?c=%20d')
    expect(Object.fromEntries(headersOf(echoed))).toEqual({
      accept: 'a/b',
      x_own: 'kept',
      host: 'echo.apps.localhost',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'echo.apps.localhost',
    })
  })

  test('E2: headers that Connection names are dropped, and ours cannot be dropped that way', async () => {
    const answer = await request([
      'GET / HTTP/1.1',
      'Host: echo.apps.localhost',
      'Connection: close, X-Forwarded-For, X-Secret, Host',
      'X-Secret: 1',
      'X-Kept: 2',
      'TE: trailers',
      'Keep-Alive: timeout=5',
    ])
    const names = headersOf(JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1))).map(
      ([name]) => name,
    )
    expect(names).toEqual(['x-kept', 'host', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'])
  })

  test('E2: an upgrade to h2c is not taken: the request is answered as it is', async () => {
    const answer = await request([
      'GET / HTTP/1.1',
      'Host: echo.apps.localhost',
      'Connection: Upgrade, HTTP2-Settings, close',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
    ])
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(answer.toLowerCase()).not.toContain('h2c')
  })
})

describe('what a client gets', () => {
  test('E2: hop-by-hop headers, forged platform headers and cookies for all apps stay behind', async () => {
    const { headers } = await edge.ask('echo', '/cookies')
    expect(headers['set-cookie']).toEqual(['a=1; Path=/', 'own=1; Domain=echo.apps.localhost'])
    expect(headers['x-atelier-deployment']).toMatch(/^1\.0\./)
    expect(headers['x-internal']).toBeUndefined()
  })

  test('trailers, 204 and HEAD pass', async () => {
    const trailers = await request(['GET /trailers HTTP/1.1', 'Host: echo.apps.localhost', 'Connection: close'])
    expect(trailers.toLowerCase()).toMatch(/0\r\nx-sum: 42\r\n\r\n$/)
    expect(await edge.ask('echo', '/trailers-forgotten')).toMatchObject({ status: 200, body: 'body' })
    const empty = await request(['GET /204 HTTP/1.1', 'Host: echo.apps.localhost', 'Connection: close'])
    expect(empty).toMatch(/^HTTP\/1\.1 204 No Content/)
    expect(empty.toLowerCase()).not.toMatch(/content-length|transfer-encoding/)
    expect(await edge.ask('echo', '/', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' })
  })

  test('early hints come before the answer, with nothing of what only the edge or the answer may say', async () => {
    const answer = await request(['GET /hints HTTP/1.1', 'Host: echo.apps.localhost', 'Connection: close'])
    const heads = answer.split('\r\n\r\n')
    expect(heads.slice(0, 3)).toEqual([
      'HTTP/1.1 102 Processing',
      'HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nx-name: caf\xe9',
      'HTTP/1.1 103 Early Hints\r\nlink: </b.css>; rel=preload',
    ])
    expect(heads[3]).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(heads.slice(4)).toEqual(['after hints'])
  })

  test('early hints of a request that waits behind another on its connection come in its turn', async () => {
    const socket = await edge.socket()
    const answer = buffer(socket)
    const host = 'Host: echo.apps.localhost'
    socket.write(`POST /one HTTP/1.1\r\n${host}\r\nContent-Length: 2\r\n\r\na`)
    socket.write(`bGET /hints HTTP/1.1\r\n${host}\r\n\r\nGET /204 HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`)
    const lines = (await answer).toString('latin1').match(/^.*HTTP\/1\.1 \d+|after hints/gm)
    const said = [
      'HTTP/1.1 200',
      'HTTP/1.1 102',
      'HTTP/1.1 103',
      'HTTP/1.1 103',
      'HTTP/1.1 200',
      'after hintsHTTP/1.1 204',
    ]
    expect(lines?.map((line) => line.replace(/^.*}(?=HTTP)/, ''))).toEqual(said)
  })

  test('an HTTP/1.0 client gets no early hints, for which it would take the answer', async () => {
    const answer = await request(['GET /hints HTTP/1.0', 'Host: echo.apps.localhost'])
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
    expect(answer).toMatch(/after hints$/)
  })

  test('an HTTP/1.0 client is answered without chunks', async () => {
    const answer = await request(['GET / HTTP/1.0', 'Host: echo.apps.localhost'])
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(answer.toLowerCase()).not.toContain('transfer-encoding')
    expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({ url: '/' })
  })
})

describe('a request has one beginning and one end', () => {
  const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']
  test.each(methods)('E1: the body of a chunked %s is its body, and nothing behind it is a request', async (method) => {
    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: echo.apps.localhost\r\n\r\n'
    const chunk = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`
    const answer = await edge.raw(
      `${method} /one HTTP/1.1\r\nHost: echo.apps.localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk}`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    if (method !== 'HEAD') expect(answer).toContain(`"bytes":${smuggled.length}`)
    expect(answer).not.toContain('/smuggled')
  })

  test('E1: garbage behind a request whose answer is under way ends it, and puts nothing into it', async () => {
    const socket = await edge.socket()
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    const closed = once(socket, 'close')
    socket.write('GET /slow-body HTTP/1.1\r\nHost: echo.apps.localhost\r\n\r\n')
    await expect.poll(() => answer).toContain('started')
    socket.write('garbage\r\n\r\n')
    await closed
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n7\r\nstarted\r\n$/)
    await expect.poll(async () => (await state()).open).toBe(0)
  })

  test('E1: a request behind one that is refused is not looked at', async () => {
    const two = ['GET /first HTTP/1.1', 'Host: a', 'Host: b', '', 'GET /exit HTTP/1.1', 'Host: echo.apps.localhost']
    const before = (await state()).born
    const answer = await request(two)
    expect(answer.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 400'])
    expect((await state()).born).toBe(before)
  })

  test.each([
    [['Content-Length: 4', 'Transfer-Encoding: chunked']],
    [['Transfer-Encoding: chunked', 'Content-Length: 4']],
    [['Content-Length: 4', 'Content-Length: 5']],
    [['Content-Length: 4, 4']],
    [['Content-Length: +4']],
    [['Transfer-Encoding: xchunked']],
    [['Transfer-Encoding: chunked, identity']],
    [['Transfer-Encoding : chunked']],
    [['X: a', ' folded: b']],
    [['Bad Name: a']],
    [['X: a\x01b']],
  ])('E1: %j is ambiguous: 400, and the connection is closed', async (lines) => {
    const answer = await edge.raw(
      ['POST / HTTP/1.1', 'Host: echo.apps.localhost', ...lines, '', '4\r\nabcd\r\n0\r\n\r\n'].join('\r\n'),
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
  })

  test.each([
    ['two Host headers', ['GET / HTTP/1.1', 'Host: echo.apps.localhost', 'Host: evil.com']],
    ['the same Host twice', ['GET / HTTP/1.1', 'Host: echo.apps.localhost', 'host: echo.apps.localhost']],
    ['no Host', ['GET / HTTP/1.1', 'X: y']],
    ['no Host in HTTP/1.0', ['GET / HTTP/1.0']],
    ['a user name', ['GET / HTTP/1.1', 'Host: good@echo.apps.localhost']],
    ['a path', ['GET / HTTP/1.1', 'Host: echo.apps.localhost/..']],
    ['a port that is none', ['GET / HTTP/1.1', 'Host: echo.apps.localhost:abc']],
    ['an empty Host', ['GET / HTTP/1.1', 'Host:']],
    ['a request line for another host', ['GET http://evil.com/ HTTP/1.1', 'Host: echo.apps.localhost']],
    ['a request line for another port', ['GET http://echo.apps.localhost:1/ HTTP/1.1', 'Host: echo.apps.localhost']],
    ['a fragment', ['GET /#x HTTP/1.1', 'Host: echo.apps.localhost']],
    ['an asterisk', ['OPTIONS * HTTP/1.1', 'Host: echo.apps.localhost']],
    ['bytes beyond ASCII', ['GET / HTTP/1.1', 'Host: \xe9cho.apps.localhost']],
  ])('E4: %s: 400', async (_name, lines) => {
    expect(await request(lines)).toMatch(/^HTTP\/1\.1 400 /)
  })

  test.each([
    ['GET / HTTP/1.1', 'Host: ECHO.Apps.Localhost:80'],
    ['GET / HTTP/1.1', 'Host: echo.apps.localhost.'],
    ['GET http://echo.apps.localhost/ HTTP/1.1', 'Host: echo.apps.localhost'],
  ])('E4: %s with %s is the app', async (line, host) => {
    expect(await request([line, host, 'Connection: close'])).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*"url":"\/"/)
  })

  test.each([
    'unknown.apps.localhost',
    'localhost',
    '127.0.0.1',
    '[::1]:8080',
    'a.echo.apps.localhost',
    'xn--cho-9la.apps.localhost',
  ])('E4: %s leads nowhere: 404', async (host) => {
    expect(await request(['GET / HTTP/1.1', `Host: ${host}`, 'Connection: close'])).toMatch(/^HTTP\/1\.1 404 /)
  })

  test('E6: too many and too large headers are refused, and a header named __proto__ is one like any other', async () => {
    const many = Array.from({ length: 2_500 }, (_, index) => `x-${index}: 1`)
    const host = 'Host: echo.apps.localhost'
    expect(await request(['GET / HTTP/1.1', host, ...many.slice(0, 150)])).toMatch(/^HTTP\/1\.1 431 /)
    expect(await request(['GET / HTTP/1.1', host, ...many])).toMatch(/^HTTP\/1\.1 431 /)
    expect(await request(['GET / HTTP/1.1', host, `x: ${'a'.repeat(20_000)}`])).toMatch(/^HTTP\/1\.1 431 /)
    expect(await request(['GET / HTTP/1.1', host, '__proto__: x', 'Connection: close'])).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('E6: a body over the limit is refused, told in advance or not', async () => {
    const told = await edge
      .ask('echo', '/', { method: 'POST', headers: { 'content-length': '2000000' }, body: 'x' })
      .catch((error: Error) => error)
    expect(told).toMatchObject({ status: 413 })
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    const untold = ['POST / HTTP/1.1', 'Host: echo.apps.localhost', 'Transfer-Encoding: chunked', '', chunk.repeat(40)]
    const answer = await edge.raw(untold.join('\r\n'))
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(await edge.ask('echo', '/', { method: 'POST', body: 'x'.repeat(900_000) })).toMatchObject({ status: 200 })
  })
})

describe('a client that leaves', () => {
  test.each(['/slow-body', '/silent'])('E8: takes its request to %s with it', async (path) => {
    const before = await state()
    const socket = connect(edge.port, '127.0.0.1')
    socket.write(`GET ${path} HTTP/1.1\r\nHost: echo.apps.localhost\r\n\r\n`)
    await expect.poll(async () => (await state()).open).toBe(before.open + 1)
    socket.resetAndDestroy()
    await expect.poll(async () => (await state()).open).toBe(before.open)
    expect((await state()).aborted).toBe(before.aborted + 1)
  })

  test('E8: in the middle of an upload does not leave the app waiting', async () => {
    const socket = await edge.socket()
    socket.write('POST / HTTP/1.1\r\nHost: echo.apps.localhost\r\nContent-Length: 1000\r\n\r\nabc')
    await expect.poll(async () => (await state()).open).toBe(0)
    socket.resetAndDestroy()
    expect(await edge.ask('echo', '/')).toMatchObject({ status: 200 })
  })

  test('an answer before the end of the upload is delivered', async () => {
    const socket = await edge.socket()
    socket.on('error', () => undefined)
    socket.write(
      'POST /early HTTP/1.1\r\nHost: echo.apps.localhost\r\nContent-Length: 500000\r\nConnection: close\r\n\r\nabc',
    )
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 403 Forbidden[\s\S]*no/)
  })
})

test('F2: an app that crashes costs its in-flight requests, and is back by itself', async () => {
  const { born } = await state()
  const crashed = await edge.ask('echo', '/exit')
  expect(crashed.status).toBe(502)
  expect(crashed.headers['retry-after']).toBe('1')
  expect(JSON.parse(crashed.body)).toMatchObject({ error: { code: 'APP_CONNECTION_LOST' } })
  expect((await state()).born).not.toBe(born)
  await expect
    .poll(async () => edge.sql`select text from app_log_lines where stream = 'platform'`)
    .toMatchObject([{ text: expect.stringContaining('started again') }])
})
