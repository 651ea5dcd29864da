import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { EgressRule } from '../config.ts'
import { readHostProxy } from '../egress/host-proxy.ts'
import { OutboundHttp } from '../egress/outbound-http.ts'
import { type Caller, HostApi } from './host-api.ts'

const opened: (() => void)[] = []
afterEach(() => {
  for (const close of opened.splice(0)) close()
})

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown

/** A host that answers everything in one way. */
async function host(answer: Answer, at = '127.0.0.1') {
  const asked: { line: string; authorization: string | undefined }[] = []
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    asked.push({ line: `${request.method} ${request.url}`, authorization: request.headers.authorization })
    request.resume()
    answer(request, response)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
  })
  server.listen(0, at)
  await once(server, 'listening')
  opened.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { port: (server.address() as AddressInfo).port, asked, sockets }
}

/** The API at a port of this machine, which alone may be called; `timeoutMs` in place of the ten seconds that a call has. */
function apiAt(port: number, { timeoutMs }: { timeoutMs?: number } = {}): HostApi {
  const rule: EgressRule = { kind: 'network', address: '127.0.0.1', prefix: 32, family: 'ipv4', port }
  const http = new OutboundHttp({ settings: () => ({ rules: [rule], hostProxy: readHostProxy({}) }) })
  const caller: Caller = {
    send: (request, limits) => http.send(request, { ...limits, ...(timeoutMs !== undefined && { timeoutMs }) }),
  }
  const link = { host: 'github', apiUrl: `http://127.0.0.1:${port}/api/v3`, fullName: 'ada/hello' } as const
  return new HostApi(link, 'token-of-the-host', caller)
}

const sha = 'a'.repeat(40)
const calls = {
  'which pull requests are open': (api: HostApi) => api.openPulls(),
  'which commit a branch has': (api: HostApi) => api.headOf('main'),
  'to take a status': (api: HostApi) =>
    api.setStatus(sha, { context: 'atelier/hello', state: 'success', text: 'it is live', url: null }),
  'to take a comment': (api: HostApi) => api.putComment(1, { id: null, mark: '<!-- atelier -->', text: 'live' }),
}

const json =
  (status: number, value: unknown, headers = {}): Answer =>
  (_, response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
const endless: Answer = (_, response) => {
  const chunk = Buffer.alloc(65_536, '[')
  const more = () => !response.destroyed && response.write(chunk, () => setImmediate(more))
  more()
}
const dribble: Answer = (_, response) => {
  response.writeHead(200)
  const timer = setInterval(() => response.write(' '), 20)
  response.on('close', () => clearInterval(timer))
}

type Trouble = { answer: Answer; says: RegExp; timeoutMs?: number }
const troubles: Record<string, Trouble> = {
  'with a page': { answer: (_, response) => response.end('<!doctype html><title>Sign in</title>'), says: /not JSON/ },
  'with 500': { answer: json(500, { message: 'no' }), says: /500/ },
  'with 502 and a page': { answer: (_, response) => response.writeHead(502).end('<html>bad'), says: /502/ },
  'with half of its JSON': {
    answer: (_, response) =>
      response.writeHead(200, { 'content-length': 99 }).write('[{"number": 1', () => response.destroy()),
    says: /broke off/,
  },
  'with a body without end': { answer: endless, says: /more than is taken/ },
  'a byte at a time': { answer: dribble, says: /broke off/, timeoutMs: 400 },
  never: { answer: () => undefined, says: /did not answer within/, timeoutMs: 400 },
  'with nothing, and hangs up': { answer: (request) => request.socket.destroy(), says: /./ },
}

describe('a git host that answers', () => {
  for (const [how, { answer, says, timeoutMs }] of Object.entries(troubles))
    test.each(Object.entries(calls))(
      `${how}, asked %s: a sentence, and nothing that it said is believed`,
      async (_, call) => {
        const { port, asked, sockets } = await host(answer)
        const failure = await call(apiAt(port, timeoutMs === undefined ? {} : { timeoutMs })).catch(
          (thrown: unknown) => thrown,
        )
        expect(failure).toMatchObject({ name: 'HostFailure', message: expect.stringMatching(says) })
        expect(asked).toHaveLength(1)
        // Nothing of it is read on.
        await expect.poll(() => sockets.size).toBe(0)
      },
    )

  test.each(Object.entries(calls))(
    'with a redirect to an address of the inside, asked %s: nobody there is called',
    async (_, call) => {
      const inside = await host(json(200, []), '127.0.0.2')
      const { port, asked } = await host((_request, response) =>
        response.writeHead(307, { location: `http://127.0.0.2:${inside.port}/` }).end(),
      )
      await expect(call(apiAt(port))).rejects.toMatchObject({
        name: 'HostFailure',
        message: expect.stringContaining('ATELIER_OUTBOUND_ALLOW'),
      })
      expect([asked.length, inside.asked]).toEqual([1, []])
    },
  )

  test.each(Object.entries(calls))(
    'with redirects in a circle, asked %s: it is left after the second',
    async (_, call) => {
      const { port, asked } = await host((request, response) =>
        response.writeHead(307, { location: request.url }).end(),
      )
      await expect(call(apiAt(port))).rejects.toMatchObject({ name: 'HostFailure' })
      expect(asked).toHaveLength(2)
    },
  )

  test.each([
    ['an object', {}],
    ['null', null],
    [
      'a commit that is none',
      [{ number: 1, head: { sha: '$(id)' }, base: { repo: { id: 1, full_name: 'ada/hello' } } }],
    ],
    ['a number that is none', [{ number: '1', head: { sha }, base: { repo: { id: 1, full_name: 'ada/hello' } } }]],
    ['nothing but a prototype', [JSON.parse('{"__proto__":{"number":1}}')]],
  ])('with JSON of another shape (%s): none of it is a list of pull requests', async (_, value) => {
    const { port } = await host(json(200, value))
    await expect(apiAt(port).openPulls()).rejects.toMatchObject({ name: 'HostFailure' })
  })

  test('with the same page for ever: twenty are asked for, and a part of the list is none', async () => {
    const pull = { number: 1, head: { sha, ref: 'b', repo: null }, base: { repo: { id: 1, full_name: 'ada/hello' } } }
    const { port, asked } = await host(json(200, [pull]))
    await expect(apiAt(port).openPulls()).rejects.toThrow('too many open pull requests')
    expect(asked).toHaveLength(20)
  })

  test('that it is asked too often: the time it names is kept', async () => {
    const { port } = await host(json(429, {}, { 'retry-after': '77' }))
    await expect(apiAt(port).openPulls()).rejects.toMatchObject({ status: 429, retryAfterSec: 77 })
  })

  test('as it should is believed', async () => {
    const pull = { number: 1, head: { sha, ref: 'b', repo: null }, base: { repo: { id: 1, full_name: 'ada/hello' } } }
    const { port } = await host((request, response) =>
      json(200, request.url?.endsWith('page=1') ? [pull] : [])(request, response),
    )
    expect(await apiAt(port).openPulls()).toEqual([{ number: 1, headSha: sha, isFork: true, saidAt: null }])
  })
})
