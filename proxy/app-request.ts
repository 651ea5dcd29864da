import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Log } from '../registry/log.ts'
import type { DeploymentRef } from './deployment.ts'
import { type Host, HostUnavailable } from './host.ts'
import * as pages from './pages.ts'
import { type Forwarding, forwardHeaders } from './request-headers.ts'
import { headerIn, type ResponseHead, readResponseHead, readTrailers } from './response-head.ts'
import { type Exchange, UpstreamError, type UpstreamRequest, type UpstreamResponse } from './upstream.ts'

export type AppCall = {
  request: IncomingMessage
  response: ServerResponse
  target: string
  ref: DeploymentRef
  /** Flat pairs that go with every response. */
  headers: string[]
  /** Flat pairs that go with a page while a rollout splits its visitors. */
  visitor: string[]
  forwarding: Forwarding
}
export type AppRequestDeps = {
  limits: AppRequestLimits
  cookieSuffix: string
  log: Log
  /** A response without a foreseeable end has begun. */
  onEndless: (response: ServerResponse) => void
}
export type AppRequestLimits = { waitForHostMs: number; maxBodyBytes: number; headTimeoutMs: number }

const maxUnsentTries = 3

/**
 * One request to an app: waits for its host if it must, sends the request, checks the answer and streams it to the client. Whatever goes
 * wrong costs this request alone, and is a page as long as nothing has been written. Resolves when the response is over.
 */
export async function serveFromApp(call: AppCall, host: Host, deps: AppRequestDeps): Promise<void> {
  const { request, response, ref } = call
  const bodyLength = readBodyLength(request)
  if (bodyLength !== null && bodyLength > deps.limits.maxBodyBytes) {
    writeFailure(call, pages.bodyTooLarge(deps.limits.maxBodyBytes))
    return
  }
  const outgoing: UpstreamRequest = {
    method: request.method ?? 'GET',
    target: call.target,
    headers: forwardHeaders(request, call.forwarding),
    body: request,
    bodyLength,
  }
  const sending = new Sending(host, outgoing, deps.limits.waitForHostMs)
  response.on('close', () => sending.abort())
  try {
    const upstream = await sending.response()
    const head = readResponseHead(upstream, { cookieSuffix: deps.cookieSuffix })
    if ('invalid' in head) {
      sending.abort()
      throw new UpstreamError('invalid', head.invalid)
    }
    await stream(call, head, upstream, deps)
  } catch (thrown) {
    if (response.destroyed) return
    if (thrown instanceof UpstreamError) {
      deps.log.info(
        { app: ref.appId, deployment: ref.id, fault: thrown.fault, reason: thrown.message },
        'app request failed',
      )
    }
    writeFailure(call, noticeFor(thrown, ref.appId, deps.limits))
  } finally {
    // Answered before the body had been sent: the app does not want the rest.
    if (!request.complete) sending.abort()
  }
}

/** What to say of a request to an app that got no response. */
export function noticeFor(
  thrown: unknown,
  app: string,
  { maxBodyBytes, headTimeoutMs }: Pick<AppRequestLimits, 'maxBodyBytes' | 'headTimeoutMs'>,
): pages.Notice {
  if (thrown instanceof HostUnavailable) {
    const retryAfterSec = Math.max(1, Math.ceil(thrown.retryAfterMs / 1000))
    if (thrown.why === 'crashed') return pages.appCrashed(app, retryAfterSec)
    return thrown.why === 'busy' ? pages.appBusy(app) : pages.appStarting(app, retryAfterSec)
  }
  if (!(thrown instanceof UpstreamError)) return pages.appUnavailable(app)
  if (thrown.fault === 'unsent') return pages.appBusy(app)
  if (thrown.fault === 'invalid') return pages.invalidResponse(app, thrown.message)
  if (thrown.fault === 'timeout') return pages.responseTimeout(app, headTimeoutMs / 1000)
  return thrown.fault === 'too-large' ? pages.bodyTooLarge(maxBodyBytes) : pages.connectionLost(app)
}

/**
 * A request on its way to whichever process of the host takes it. One that no process can have seen goes again to the host as it is then.
 * An idempotent one whose kept-alive connection was closed under it goes once more, on a new connection and to the same process: if that
 * is gone, this request may be what ended it.
 */
class Sending {
  readonly #host: Host
  readonly #request: UpstreamRequest
  readonly #waitMs: number
  #exchange: Exchange | null = null
  #isAborted = false

  constructor(host: Host, request: UpstreamRequest, waitMs: number) {
    this.#host = host
    this.#request = request
    this.#waitMs = waitMs
  }

  async response(): Promise<UpstreamResponse> {
    const { method, bodyLength } = this.#request
    const mayRepeat = bodyLength === 0 && isIdempotent(method)
    let upstream = this.#host.upstream() ?? (await this.#host.whenUp(this.#waitMs))
    let stale: UpstreamError | null = null
    for (let tries = 1; ; tries++) {
      if (this.#isAborted) throw new UpstreamError('aborted', 'the client is gone')
      this.#exchange = upstream.send(this.#request, { fresh: stale !== null })
      try {
        return await this.#exchange.response
      } catch (thrown) {
        if (!(thrown instanceof UpstreamError)) throw thrown
        if (stale) throw thrown.fault === 'unsent' ? stale : thrown
        if (thrown.fault === 'stale' && mayRepeat) stale = thrown
        else if (thrown.fault === 'unsent' && tries < maxUnsentTries) {
          upstream = await this.#host.whenUpAgain(upstream, this.#waitMs)
        } else throw thrown
      }
    }
  }

  abort(): void {
    this.#isAborted = true
    this.#exchange?.abort()
  }
}

async function stream(
  { response, headers, visitor }: AppCall,
  head: ResponseHead,
  upstream: UpstreamResponse,
  { onEndless }: AppRequestDeps,
): Promise<void> {
  const type = headerIn(upstream.pairs, 'content-type') ?? ''
  const personal = visitor.length > 0 && type.startsWith('text/html') && !isShared(upstream) ? visitor : []
  response.writeHead(head.status, head.reason, [...head.headers, ...headers, ...personal])
  const { body } = upstream
  if (Buffer.isBuffer(body)) {
    response.end(body)
    return
  }
  if (type.startsWith('text/event-stream')) onEndless(response)
  await pass(body, response, () => readTrailers(upstream.trailers()))
}

async function pass(body: Readable, response: ServerResponse, trailers: () => [string, string][]): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  response.on('close', resolve)
  body.on('error', () => response.destroy())
  body.on('end', () => {
    const pairs = trailers()
    if (pairs.length > 0) response.addTrailers(pairs)
  })
  body.pipe(response)
  // A stream that starts with silence still shows that it has started.
  setImmediate(() => {
    if (!response.writableEnded && !response.destroyed) response.flushHeaders()
  })
  await over
}

function writeFailure({ request, response, headers }: AppCall, notice: pages.Notice): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  // With a body still on its way the connection cannot be used again.
  pages.writeNotice(request, response, notice, request.complete ? headers : [...headers, 'connection', 'close'])
}

// What a shared cache may keep carries nobody's cookie.
function isShared({ pairs }: UpstreamResponse): boolean {
  return /\bpublic\b|s-maxage|max-age=[1-9]/i.test(headerIn(pairs, 'cache-control') ?? '')
}

// The parser has made sure that a request has one framing at most.
function readBodyLength({ headers }: IncomingMessage): number | null {
  if (headers['transfer-encoding'] !== undefined) return null
  return Number(headers['content-length'] ?? 0)
}

// RFC 9110 §9.2.2.
function isIdempotent(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || method === 'PUT' || method === 'DELETE'
}
