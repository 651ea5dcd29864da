// Serves an app that is a fetch function: HTTP messages to Request and Response objects and back. Node builtins only.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { basename } from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import type { RedirectedServer } from './isolate-listen.ts'

type Context = { waitUntil(promise: Promise<unknown>): void; passThroughOnException(): void }
type Handler = (request: Request, env: NodeJS.ProcessEnv, context: Context) => Response | Promise<Response>

/** Imports the entry and serves its default export; resolves to how to wait for what `waitUntil` was given. */
export async function serveFetch(entry: string, redirected: RedirectedServer): Promise<() => Promise<void>> {
  const module: { default?: unknown } = await import(pathToFileURL(entry).href)
  // An app that listened by itself serves itself.
  if (redirected.isTaken()) return async () => {}
  const handle = handlerOf(module.default, entry)

  const background = new Set<Promise<unknown>>()
  const context: Context = {
    passThroughOnException: () => {},
    waitUntil(promise) {
      const settled = Promise.resolve(promise)
        .catch(report)
        .finally(() => background.delete(settled))
      background.add(settled)
    },
  }
  // Importing node:http reads all its exports, and with them loads undici, before the app is ready: 20 ms.
  const { createServer } = process.getBuiltinModule('node:http')
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 75_000 }, (message, response) => {
    answer(message, response, (request) => handle(request, process.env, context)).catch((error: unknown) => {
      report(error)
      fail(response)
    })
  })
  redirected.listen(server)
  return async () => {
    while (background.size > 0) await Promise.all(background)
  }
}

function handlerOf(app: unknown, entry: string): Handler {
  if (typeof app === 'function') return app as Handler
  if (typeof app === 'object' && app !== null && 'fetch' in app && typeof app.fetch === 'function') {
    return app.fetch.bind(app) as Handler
  }
  const message = `${basename(entry)} has no default export with a fetch(request) function`
  throw Object.assign(new Error(message), { code: 'ATELIER_NO_FETCH' })
}

async function answer(
  message: IncomingMessage,
  response: ServerResponse,
  handle: (request: Request) => unknown,
): Promise<void> {
  const aborted = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) aborted.abort()
  })
  const request = requestFrom(message, aborted.signal)
  if (!request) {
    response.writeHead(400).end()
    return
  }
  const answered = await handle(request)
  if (!(answered instanceof Response))
    throw new TypeError(`fetch() must return a Response; it returned ${inspect(answered)}`)
  if (response.destroyed) return void answered.body?.cancel()
  await send(answered, message.method === 'HEAD', response, aborted.signal)
}

function requestFrom(message: IncomingMessage, signal: AbortSignal): Request | null {
  const { method = 'GET', headers, rawHeaders } = message
  const url = urlOf(message)
  // Fetch knows no TRACE: https://fetch.spec.whatwg.org/#forbidden-method
  if (!url || method === 'TRACE') return null
  const list = new Headers()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (!name.startsWith(':')) list.append(name, rawHeaders[index + 1] ?? '')
  }
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
  if (method === 'GET' || method === 'HEAD' || !hasBody) return new Request(url, { method, headers: list, signal })
  const body = Readable.toWeb(message) as ReadableStream<Uint8Array>
  return new Request(url, { method, headers: list, signal, body, duplex: 'half' })
}

// The edge is the only client, and it alone says whether the visitor came over https.
function urlOf({ headers, url = '/' }: IncomingMessage): URL | null {
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  const base = `${scheme}://${headers.host || 'localhost'}`
  return URL.parse(url.startsWith('/') ? base + url : url === '*' ? `${base}/*` : url)
}

async function send(answered: Response, isHead: boolean, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const headers: [string, string | string[]][] = []
  for (const [name, value] of answered.headers) if (name !== 'set-cookie') headers.push([name, value])
  const cookies = answered.headers.getSetCookie()
  if (cookies.length > 0) headers.push(['set-cookie', cookies])
  for (const [name, value] of headers) response.setHeader(name, value)
  response.statusCode = answered.status
  if (answered.statusText) response.statusMessage = answered.statusText

  const { body } = answered
  if (!body || isHead) {
    await body?.cancel()
    if (!isHead && !response.hasHeader('content-length') && mayHaveBody(answered.status))
      response.setHeader('content-length', 0)
    response.end()
    return
  }
  await sendBody(body, response, signal)
}

const mayHaveBody = (status: number) => status >= 200 && status !== 204 && status !== 304

async function sendBody(
  body: ReadableStream<Uint8Array>,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const reader = body.getReader()
  signal.addEventListener('abort', () => void reader.cancel(signal.reason).catch(report))
  // A body that is there at once is sent with its length, in one piece.
  const first = await reader.read()
  if (first.done) return void response.end()
  let next = reader.read()
  const isWhole = await Promise.race([next.then(({ done }) => done), turn()])
  if (isWhole) {
    if (!response.hasHeader('content-length')) response.setHeader('content-length', first.value.byteLength)
    return void response.end(first.value)
  }
  response.write(first.value)
  for (let chunk = await next; !chunk.done; chunk = await next) {
    if (!response.write(chunk.value)) await drained(response)
    next = reader.read()
  }
  response.end()
}

const turn = () => new Promise<boolean>((settle) => setImmediate(settle, false))

function drained(response: ServerResponse): Promise<void> {
  return new Promise((settle) => {
    const done = () => {
      response.off('drain', done)
      response.off('close', done)
      settle()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

function fail(response: ServerResponse): void {
  if (response.headersSent) return void response.destroy()
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end('Internal Server Error\n')
}

function report(error: unknown): void {
  process.stderr.write(`${inspect(error)}\n`)
}
