import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { ReadyResponse, sendChecked } from './ready-response.ts'

const body = Buffer.from('a body of some bytes é\n'.repeat(40))
const head = ['content-type', 'text/plain; charset=utf-8', 'content-length', String(body.length), 'etag', '"abc"']
const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const last = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

// The first response is made by Node, and those after it are ready. Returns what comes until the connection is closed, Date put aside.
async function talk(text: string, listener?: RequestListener) {
  const { server, sent, closed } = serve(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const answer = buffer(socket)
  socket.write(text)
  const bytes = await answer
  server.close()
  return { text: bytes.toString('latin1').replace(/Date: [^\r]+/g, 'Date: …'), sent, closed }
}

function serve(listener?: RequestListener) {
  let ready: ReadyResponse | null = null
  const sent: string[] = []
  const closed: number[] = []
  const server = createServer((request, response) => {
    response.on('close', () => closed.push(sent.length))
    listener?.(request, response)
    if (ready?.send(response)) {
      sent.push('ready')
      return
    }
    response.writeHead(200, head)
    ready ??= ReadyResponse.of(response, body)
    response.end(body)
    sent.push('made')
  })
  return { server, sent, closed }
}

const oneByOne = async (count: number) => {
  const { server, sent, closed } = serve()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const texts: string[] = []
  for (let n = 0; n < count; n++) {
    socket.write(get)
    let text = ''
    while (!text.includes(body.toString('latin1'))) text += (await once(socket, 'data'))[0].toString('latin1')
    texts.push(text)
  }
  socket.end()
  await once(socket, 'close')
  server.close()
  return { texts, sent, closed }
}

test('a ready response is, byte for byte, the one Node makes, on the same connection, and ends like it', async () => {
  const { texts, sent, closed } = await oneByOne(4)
  expect(sent).toEqual(['made', 'ready', 'ready', 'ready'])
  const plain = texts.map((text) => text.replace(/Date: [^\r]+/, 'Date: …'))
  expect(new Set(plain).size).toBe(1)
  expect(plain[0]).toContain('Connection: keep-alive\r\n')
  for (const text of texts) {
    const date = /\r\nDate: ([^\r]+)\r\n/.exec(text)?.[1] ?? ''
    expect(Math.abs(Date.parse(date) - Date.now())).toBeLessThan(60_000)
    expect(new Date(date).toUTCString()).toBe(date)
  }
  expect(closed).toHaveLength(4)
})

test('requests sent ahead are answered in their order, and a connection that is to be closed is told so', async () => {
  const { text, sent } = await talk(get + get + get + last)
  expect(text.split('HTTP/1.1 200 OK')).toHaveLength(5)
  expect(text.match(/Connection: keep-alive/g)).toHaveLength(3)
  expect(text.match(/Connection: close/g)).toHaveLength(1)
  expect(text.split(body.toString('latin1'))).toHaveLength(5)
  expect(sent).toHaveLength(4)
  expect(sent.at(-1)).toBe('made')
})

test('an older client, whose connection ends with the answer, gets one that Node makes', async () => {
  const { text, sent } = await talk('GET / HTTP/1.0\r\nHost: x\r\n\r\n')
  expect(text).toContain('Connection: close')
  expect(sent).toEqual(['made'])
})

test('a response has not ended before its client has taken it', async () => {
  const large = Buffer.alloc(60_000, 'x')
  let ready: ReadyResponse | null = null
  const sent: string[] = []
  let begun = 0
  let ended = 0
  let queued = () => 0
  const server = createServer({ highWaterMark: 1024 }, ({ socket: taker }, response) => {
    begun++
    queued = () => taker.writableLength
    response.on('close', () => ended++)
    const isReady = ready?.send(response) === true
    sent.push(isReady ? 'ready' : 'made')
    if (isReady) return
    response.writeHead(200, ['content-length', String(large.length)])
    ready ??= ReadyResponse.of(response, large)
    response.end(large)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.pause()
  // One at a time, until the buffers of both kernels hold no more.
  while (queued() === 0) {
    const before = begun
    socket.write(get)
    await expect.poll(() => begun, { interval: 1 }).toBe(before + 1)
  }
  expect(sent.at(-1)).toBe('ready')
  await expect.poll(() => ended).toBe(begun - 1)
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
  })
  socket.resume()
  await expect.poll(() => ended).toBe(begun)
  await expect.poll(() => bytes).toBeGreaterThan(begun * large.length)
  socket.destroy()
  server.close()
})

test('a checked response is, byte for byte, the one Node makes, on the same connection, and ends like it', async () => {
  const answers: { status: number; reason: string; headers: string[]; body: Buffer | null }[] = [
    { status: 200, reason: 'OK', headers: head, body },
    {
      status: 404,
      reason: 'Not here \xe9',
      headers: ['X-A', '\xff \t', 'content-length', '0'],
      body: null,
    },
    { status: 204, reason: 'No Content', headers: [], body: null },
    {
      status: 304,
      reason: 'Not Modified',
      headers: ['ETag', '"1"', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
      body: null,
    },
    {
      status: 200,
      reason: '',
      headers: ['DATE', 'yesterday', 'content-length', '3'],
      body: Buffer.from([0, 128, 255]),
    },
  ]
  for (const { status, reason, headers, body: whole } of answers) {
    const texts: string[] = []
    const sent: boolean[] = []
    const closed: number[] = []
    for (const isChecked of [true, false]) {
      const server = createServer({ keepAliveTimeout: 0 }, (_, response) => {
        response.on('close', () => closed.push(response.statusCode))
        const isSent =
          isChecked && sendChecked(response, { status, reason }, [headers.slice(0, 2), headers.slice(2)], whole)
        if (isChecked) sent.push(isSent)
        if (isSent) return
        response.writeHead(status, reason, headers)
        response.end(whole)
      })
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
      const answer = buffer(socket)
      socket.write(get + get + last)
      texts.push((await answer).toString('latin1').replace(/Date: [^\r]+ GMT/g, 'Date: …'))
      server.close()
    }
    expect(texts[0]).toBe(texts[1])
    expect(texts[0]?.match(/HTTP\/1\.1 /g)).toHaveLength(3)
    // Of requests sent ahead Node has only the first on the connection.
    expect(sent).toEqual([true, false, false])
    expect(closed).toEqual(Array.from({ length: 6 }, () => status))
  }
})
