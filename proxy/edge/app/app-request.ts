import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Log } from '../../../registry/log.ts'
import { isForEverybody } from '../cache/cache-control.ts'
import type { CountedRequest } from '../counting/counted-request.ts'
import type { DeploymentRef } from '../deployment.ts'
import * as pages from '../pages.ts'
import type { VisitorHeaders } from '../visitors.ts'
import { type CacheWord, sendInterim, sendStream, sendWhole } from './app-answer.ts'
import { HostUnavailable, type HostView } from './host-view.ts'
import { type Forwarding, forwardHeaders } from './request-headers.ts'
import { headerIn, type ResponseHead, readResponseHead, readTrailers } from './response-head.ts'
import {
  type Exchange,
  type Recipient,
  type Upstream,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
} from './upstream.ts'

export type AppCall = {
  request: IncomingMessage
  response: ServerResponse
  target: string
  /** The target before the site's own rules have rewritten it. */
  asked: string
  ref: DeploymentRef
  /** Flat pairs that go with every response. */
  headers: string[]
  /** Flat pairs that go with a page while a rollout splits its visitors. */
  visitor: VisitorHeaders | null
  forwarding: Forwarding
  /** Is told how it went. */
  counted: CountedRequest | null
}
/** Somebody who looks at the app's answer before the client gets it. */
export interface AnswerWatch {
  /** What it makes of an answer that it has looked at and not taken. */
  readonly word: CacheWord
  /** Others wait for this answer, too: a client that leaves does not end it. */
  isShared(): boolean
  /** True: it is the watch's own now, with the client that waits for it. `abort` ends it. */
  take(head: ResponseHead, answer: UpstreamResponse, abort: () => void): boolean
  /** There was none, or its client has left. May be called again, and when all is over. */
  failed(): void
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
 * wrong costs this request alone, and is a page as long as nothing has been written. Whoever asks says `over` when the response is closed.
 */
export function serveFromApp(
  call: AppCall,
  host: HostView,
  deps: AppRequestDeps,
  watch: AnswerWatch | null = null,
): AppRequest {
  const asked = new AppRequest(call, host, deps, watch)
  asked.start()
  return asked
}

/**
 * A request on its way to whichever process of the host takes it. One that no process can have seen goes again to the host as it is then.
 * An idempotent one whose kept-alive connection was closed under it goes once more, on a new connection and to the same process: if that
 * is gone, this request may be what ended it. No promise as long as the host is up: they cost as much as all the rest of a small request.
 */
export class AppRequest implements Recipient {
  readonly #call: AppCall
  readonly #host: HostView
  readonly #deps: AppRequestDeps
  readonly #watch: AnswerWatch | null
  readonly #outgoing: UpstreamRequest
  #upstream: Upstream | null = null
  #exchange: Exchange | null = null
  #tries = 0
  #stale: UpstreamError | null = null
  #isOver = false

  constructor(call: AppCall, host: HostView, deps: AppRequestDeps, watch: AnswerWatch | null) {
    const { request } = call
    this.#call = call
    this.#host = host
    this.#deps = deps
    this.#watch = watch
    this.#outgoing = {
      method: request.method ?? 'GET',
      target: call.target,
      headers: forwardHeaders(request, call.forwarding),
      body: request,
      bodyLength: readBodyLength(request),
    }
  }

  start(): void {
    const { bodyLength } = this.#outgoing
    const { limits } = this.#deps
    if (bodyLength !== null && bodyLength > limits.maxBodyBytes) {
      writeFailure(this.#call, pages.bodyTooLarge(limits.maxBodyBytes))
      return
    }
    const upstream = this.#host.upstream()
    if (upstream) this.#send(upstream)
    else this.#sendWhenUp(this.#host.whenUp(limits.waitForHostMs))
  }

  /** The response is closed, at its end or before: nothing of it is wanted any more. */
  over(): void {
    this.#isOver = true
    if (this.#isShared()) return
    this.#watch?.failed()
    this.#exchange?.abort()
  }

  interim(status: number, pairs: string[]): void {
    const { response } = this.#call
    if (!this.#isOver && !response.destroyed) sendInterim(this.#call, status, pairs)
  }

  answered(answer: UpstreamResponse): void {
    const { request, response } = this.#call
    if ((this.#isOver || response.destroyed) && !this.#isShared()) {
      this.over()
      return
    }
    try {
      this.#pass(answer)
      // Answered whole before the body had been sent: the app does not want the rest.
      if (response.writableEnded && !request.complete) this.over()
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  failed(error: UpstreamError): void {
    const stale = this.#stale
    if (stale) this.#fail(error.fault === 'unsent' ? stale : error)
    else if (error.fault === 'stale' && this.#upstream && this.#mayRepeat()) {
      this.#stale = error
      this.#send(this.#upstream)
    } else if (error.fault === 'unsent' && this.#upstream && this.#tries < maxUnsentTries)
      this.#sendWhenUp(this.#host.whenUpAgain(this.#upstream, this.#deps.limits.waitForHostMs))
    else this.#fail(error)
  }

  #send(upstream: Upstream): void {
    if (this.#isOver && !this.#isShared()) return
    this.#tries++
    this.#upstream = upstream
    try {
      this.#exchange = upstream.send(this.#outgoing, this, { fresh: this.#stale !== null })
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  #sendWhenUp(up: Promise<Upstream>): void {
    up.then(
      (upstream) => this.#send(upstream),
      (thrown: unknown) => this.#fail(thrown),
    )
  }

  #isShared(): boolean {
    return this.#watch?.isShared() === true
  }

  #mayRepeat(): boolean {
    return this.#outgoing.bodyLength === 0 && isIdempotent(this.#outgoing.method)
  }

  #pass(answer: UpstreamResponse): void {
    const watch = this.#watch
    const { request, response, headers, visitor, counted } = this.#call
    const head = readResponseHead(answer, { cookieSuffix: this.#deps.cookieSuffix })
    if ('invalid' in head) throw new UpstreamError('invalid', head.invalid)
    if (counted && !Buffer.isBuffer(answer.body)) answer.body.on('error', () => counted.brokeOff())
    if (watch?.take(head, answer, () => this.#exchange?.abort())) {
      counted?.answered(head.status, 'for everybody', false)
      return
    }
    if (response.destroyed) {
      this.over()
      return
    }
    const personal =
      visitor !== null && head.type.startsWith('text/html') && !isShared(answer)
        ? [...visitor(), ...personalControl]
        : []
    const word = watch?.word ?? 'bypass'
    counted?.answered(head.status, word === 'miss' ? 'for everybody' : 'for one', personal.length > 0)
    const client = { request, response, headers: [...headers, 'x-atelier-cache', word, ...personal] }
    const { body } = answer
    if (Buffer.isBuffer(body)) {
      sendWhole(client, head, body, readTrailers(answer.trailers()))
      return
    }
    if (head.type.startsWith('text/event-stream')) this.#deps.onEndless(response)
    sendStream(client, head, body, () => readTrailers(answer.trailers()))
  }

  #fail(thrown: unknown): void {
    const { response, ref } = this.#call
    const { log, limits } = this.#deps
    this.#watch?.failed()
    if (this.#isOver || response.destroyed) {
      this.over()
      return
    }
    this.over()
    if (thrown instanceof UpstreamError)
      log.info(
        { app: ref.appId, deployment: ref.id, fault: thrown.fault, reason: thrown.message },
        'app request failed',
      )
    writeFailure(this.#call, noticeFor(thrown, ref.appId, limits))
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

function writeFailure({ request, response, headers }: AppCall, notice: pages.Notice): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  // With a body still on its way the connection cannot be used again.
  pages.writeNotice(request, response, notice, request.complete ? headers : [...headers, 'connection', 'close'])
}

// A cache that has to ask each time could still bring this visitor's cookie to another (RFC 9111 §7.3).
const personalControl = ['cache-control', 'private']

// What a shared cache may serve carries nobody's cookie.
function isShared({ pairs }: UpstreamResponse): boolean {
  // A cache that is spoken to goes by its own header, and every other one by the general one (RFC 9213 §2.2).
  return ['cache-control', 'cdn-cache-control'].some((name) => isForEverybody(headerIn(pairs, name) ?? ''))
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
