// Serves an app that is a fetch function: calls of the isolate channel to Request and Response objects and back. Node builtins only.
import net, { type Socket } from 'node:net'
import { basename } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { type Call, serveChannel } from './isolate-channel.ts'
import type { RedirectedServer } from './isolate-listen.ts'
import { afterPreface, frameLimits } from './isolate-messages.ts'
import { installLazyRequest, requestOf } from './isolate-request.ts'
import { installLightResponse, type Plain, plainOf } from './isolate-response.ts'
import { type AppRoute, routesOf } from './isolate-routes.ts'

type Context = { waitUntil(promise: Promise<unknown>): void; passThroughOnException(): void }
/** Finishes calls in hand and what `waitUntil` was given. `routes`: null when the app keeps no list; throws what the app does. */
export type Served = { finish(): Promise<void>; routes(): AppRoute[] | null }

type Handler = (request: Request, env: NodeJS.ProcessEnv, context: Context) => Response | Promise<Response>

/** Imports the entry and serves its default export. */
export async function serveFetch(entry: string, redirected: RedirectedServer): Promise<Served> {
  installLazyRequest()
  installLightResponse()
  const module: { default?: unknown } = await import(pathToFileURL(entry).href)
  // An app that listened by itself serves itself.
  const routes = () => routesOf(module.default)
  if (redirected.isTaken()) return { finish: () => redirected.drain(), routes }
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
  let inHand = 0
  const ask = (request: Request) => handle(request, process.env, context)
  const over = () => void inHand--
  const serve = (call: Call) => {
    inHand++
    const later = answer(call, ask)
    if (later) void later.finally(over)
    else over()
  }
  redirected.listen(net.createServer((socket) => admit(socket, serve)))
  const finish = async () => {
    while (inHand > 0) await new Promise((settle) => setTimeout(settle, 10))
    while (background.size > 0) await Promise.all(background)
  }
  return { finish, routes }
}

// The edge is the only client; what says no preface is nobody it knows.
function admit(socket: Socket, serve: (call: Call) => void): void {
  let heard = Buffer.alloc(0)
  const listen = (chunk: Buffer) => {
    heard = Buffer.concat([heard, chunk])
    const rest = afterPreface(heard)
    if (rest === undefined) return
    socket.off('data', listen)
    if (rest === null) socket.destroy()
    else serveChannel(socket, rest, serve)
  }
  socket.on('data', listen).on('error', () => socket.destroy())
}

function handlerOf(app: unknown, entry: string): Handler {
  if (typeof app === 'function') return app as Handler
  if (typeof app === 'object' && app !== null && 'fetch' in app && typeof app.fetch === 'function') {
    return app.fetch.bind(app) as Handler
  }
  const message = `${basename(entry)} has no default export with a fetch(request) function`
  throw Object.assign(new Error(message), { code: 'ATELIER_NO_FETCH' })
}

// Nothing is gained by waiting a turn, or by a promise, for what is there: null then.
function answer(call: Call, ask: (request: Request) => unknown): Promise<void> | null {
  const request = requestOf(call, signalOf)
  if (!request) {
    call.answerWhole(400, '', [])
    return null
  }
  try {
    const answered = ask(request)
    const plain = isResponse(answered) ? plainOf(answered) : null
    if (!plain) return answerLater(call, answered)
    sendPlain(call, plain)
  } catch (error) {
    failed(call, error)
  }
  return null
}

async function answerLater(call: Call, answered: unknown): Promise<void> {
  try {
    const response = await answered
    const plain = isResponse(response) ? plainOf(response) : null
    if (plain) sendPlain(call, plain)
    else if (isResponse(response)) await send(call, response)
    else throw new TypeError(`fetch() must return a Response; it returned ${inspect(response)}`)
  } catch (error) {
    failed(call, error)
  }
}

function failed(call: Call, error: unknown): void {
  if (call.isAborted) return
  report(error)
  if (call.isOpen) call.answerWhole(500, '', plainText, internalError)
  else call.fail('the app failed in mid-response')
}

const plainText = ['content-type', 'text/plain; charset=utf-8']
const internalError = Buffer.from('Internal Server Error\n')

function isResponse(answered: unknown): answered is Response {
  return typeof answered === 'object' && answered !== null && answered instanceof Response
}

function signalOf(call: Call): AbortSignal {
  const controller = new AbortController()
  if (call.isAborted) controller.abort()
  call.onAbort = () => controller.abort(new DOMException('The client has closed the connection', 'AbortError'))
  return controller.signal
}

const mayHaveBody = (status: number) => status !== 204 && status !== 205 && status !== 304

function sendPlain(call: Call, { status, reason, pairs, body }: Plain): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  if (!pairs.includes('content-length') && mayHaveBody(status))
    pairs.push('content-length', String(bytes?.byteLength ?? 0))
  if (call.method === 'HEAD' || !bytes) call.answerWhole(status, reason, pairs)
  else if (bytes.byteLength <= frameLimits.data) call.answerWhole(status, reason, pairs, bytes)
  else void sendLong(call, { status, reason, pairs }, bytes)
}

async function sendLong(call: Call, head: Omit<Plain, 'body'>, bytes: Uint8Array): Promise<void> {
  call.answer(head.status, head.reason, head.pairs)
  await call.write(bytes)
  call.end()
}

async function send(call: Call, response: Response): Promise<void> {
  const pairs: string[] = []
  for (const [name, value] of response.headers) pairs.push(name, value)
  const { status, statusText, body } = response
  if (!body || call.method === 'HEAD') {
    await body?.cancel()
    if (!body && mayHaveBody(status) && call.method !== 'HEAD' && !response.headers.has('content-length'))
      pairs.push('content-length', '0')
    return call.answerWhole(status, statusText, pairs)
  }
  await sendStream(call, { status, reason: statusText, pairs }, body)
}

async function sendStream(
  call: Call,
  { status, reason, pairs }: Omit<Plain, 'body'>,
  body: ReadableStream<Uint8Array>,
): Promise<void> {
  const reader = body.getReader()
  const cancel = () =>
    void reader.cancel(new DOMException('The client has closed the connection', 'AbortError')).catch(report)
  if (call.isAborted) return cancel()
  const told = call.onAbort
  call.onAbort = () => {
    told?.()
    cancel()
  }
  // A body that is there at once is sent with its length, in one piece.
  const first = await reader.read()
  if (first.done) return call.answerWhole(status, reason, pairs)
  let next = reader.read()
  const isWhole = await Promise.race([next.then(({ done }) => done), turn()])
  if (isWhole && first.value.byteLength <= frameLimits.data) {
    if (!pairs.includes('content-length')) pairs.push('content-length', String(first.value.byteLength))
    return call.answerWhole(status, reason, pairs, first.value)
  }
  call.answer(status, reason, pairs)
  await call.write(first.value)
  for (let chunk = await next; !chunk.done; chunk = await next) {
    await call.write(chunk.value)
    next = reader.read()
  }
  call.end()
}

const turn = () => new Promise<boolean>((settle) => setImmediate(settle, false))

function report(error: unknown): void {
  process.stderr.write(`${inspect(error)}\n`)
}
