import { lookup } from 'node:dns'
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { LookupFunction } from 'node:net'
import type { Readable } from 'node:stream'
import type { Api } from './api-types.ts'
import { Failure } from './failure.ts'
import type { Platform } from './platform.ts'
import { whoAnswered, whyUnreachable } from './unreachable.ts'

/** Every route of the API by its name: `GET apps/{app}/env`. */
export type RouteName = keyof Api
type Part<N extends RouteName, K extends string> = K extends keyof Api[N] ? Api[N][K] : never

/** What the answer to a route is as one JSON document, and what each of its lines is. As the platform says; nothing has looked at it yet. */
export type Answer<N extends RouteName> = Part<N, 'answer'>
export type ApiEvent<N extends RouteName> = Part<N, 'events'>

/** What a route takes: its parameters, its query, what is sent as JSON, or what is sent as it is, in chunks. */
export type Asked<N extends RouteName> = Pick<Api[N], keyof Api[N] & ('params' | 'query' | 'json')> & {
  stream?: { body: Readable; type: Extract<Part<N, 'upload'>, string> }
  signal?: AbortSignal
}
type Args<N extends RouteName> = object extends Asked<N> ? [asked?: Asked<N>] : [asked: Asked<N>]

type Request = {
  params?: Record<string, string | number>
  query?: Record<string, string | number | boolean | null | undefined>
  json?: unknown
  stream?: { body: Readable; type: string }
  signal?: AbortSignal
}

/**
 * The API over HTTP: requests and their JSON answers, or answers that come line by line. Routes, what they take and what they answer are
 * those of the OpenAPI document (api-types.ts). Every failure is a Failure with its exit code.
 */
export class Client {
  readonly platform: Platform

  constructor(platform: Platform) {
    this.platform = platform
  }

  /** The JSON answer; null where the route answers nothing. Fails with the platform's own message when it refuses. */
  async call<N extends RouteName>(route: N, ...asked: Args<N>): Promise<Answer<N>> {
    const response = await this.#send(route, requestOf(asked))
    const text = (await Array.fromAsync(this.#chunksOf(response))).join('')
    return (response.statusCode === 204 ? null : this.#accept(response, text)) as Answer<N>
  }

  /** The answer's lines of JSON as they come; blank lines keep the connection alive and are skipped. */
  async *stream<N extends RouteName>(route: N, ...asked: Args<N>): AsyncGenerator<ApiEvent<N>> {
    for await (const event of this.#lines(route, requestOf(asked))) yield event as ApiEvent<N>
  }

  async *#lines(route: string, request: Request): AsyncGenerator<unknown> {
    const response = await this.#send(route, request)
    if (!isSuccess(response)) this.#accept(response, (await Array.fromAsync(this.#chunksOf(response))).join(''))

    let rest = ''
    for await (const chunk of this.#chunksOf(response)) {
      const lines = `${rest}${chunk}`.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line.trim()) yield this.#parse(line)
    }
    if (rest.trim()) yield this.#parse(rest)
  }

  async *#chunksOf(response: IncomingMessage): AsyncGenerator<string> {
    response.setEncoding('utf8')
    try {
      yield* response
    } catch (thrown) {
      throw this.#unreachable(thrown instanceof Error ? thrown : new Error(String(thrown)))
    }
  }

  async #send(route: string, request: Request): Promise<IncomingMessage> {
    const [method = '', path = ''] = route.split(' ')
    const named = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(request.params?.[name] ?? ''))
    const url = new URL(`/api/platform/${named}`, this.platform.api)
    for (const [name, value] of Object.entries(request.query ?? {}))
      if (value !== null && value !== undefined) url.searchParams.set(name, String(value))
    const { Agent, request: open } = url.protocol === 'https:' ? await import('node:https') : await import('node:http')
    const json = request.json === undefined ? null : Buffer.from(JSON.stringify(request.json))
    const headers = {
      authorization: `Bearer ${this.platform.token}`,
      'user-agent': 'atelier-cli',
      accept: 'application/x-ndjson, application/json',
      ...(json && { 'content-type': 'application/json', 'content-length': json.length }),
      ...(request.stream && { 'content-type': request.stream.type }),
    }
    // A server may refuse an upload before it has read it all. It closes a connection that is not kept alive there and then, and what it
    // said is lost.
    const agent = request.stream ? new Agent({ keepAlive: true }) : false

    return new Promise((resolve, reject) => {
      const sent = open(url, { method, headers, lookup: lookupLocalhost, signal: request.signal, agent })
      giveUpOn(sent)
      sent.once('response', resolve)
      sent.once('error', (error) => reject(request.stream ? this.#cutOff(error) : this.#unreachable(error)))
      if (!request.stream) {
        sent.end(json)
        return
      }
      request.stream.body.once('error', (error) => {
        reject(error)
        sent.destroy()
      })
      request.stream.body.pipe(sent)
    })
  }

  #accept(response: IncomingMessage, text: string): unknown {
    if (isSuccess(response)) return this.#parse(text)
    const status = response.statusCode ?? 0
    const { code, message } = errorOf(text)
    if (status === 401)
      throw new Failure(`${this.platform.api} does not accept this token; run: atelier login ${this.platform.api}`, {
        code,
      })
    if (code === 'ROUTE_NOT_FOUND') throw this.#otherVersion(response)
    if (message) throw new Failure(message, { code, exitCode: status >= 500 ? 3 : 1 })
    throw new Failure(whoAnswered(this.platform.api, status, response.headers.location), {
      exitCode: 3,
      code: 'NO_PLATFORM',
    })
  }

  #otherVersion({ req }: IncomingMessage & { req?: { method: string; path: string } }): Failure {
    const asked = req ? ` (${req.method} ${req.path.split('?')[0]})` : ''
    return new Failure(
      `the platform at ${this.platform.api} does not know what this command asks for${asked}: one of the two is older; bring both to the same version`,
      { code: 'OTHER_VERSION' },
    )
  }

  #parse(text: string): unknown {
    try {
      return JSON.parse(text)
    } catch {
      throw new Failure(`${this.platform.api} did not answer in JSON; is this the address of an Atelier platform?`, {
        exitCode: 3,
      })
    }
  }

  #cutOff(error: Error): Failure {
    if (!('code' in error) || !['EPIPE', 'ECONNRESET'].includes(String(error.code))) return this.#unreachable(error)
    const message = `${this.platform.api} ended the upload before it was whole; try again, or see what it says of you: atelier status`
    return new Failure(message, { exitCode: 3, code: 'CONNECTION_LOST' })
  }

  #unreachable(error: Error): Failure {
    if (error.name === 'AbortError') return new Failure('interrupted', { exitCode: 1, code: 'INTERRUPTED' })
    const message = whyUnreachable(this.platform.api, error)
    return new Failure(message, { exitCode: 3, code: 'UNREACHABLE' })
  }
}

const connectWithinMs = 15_000

// A packet filter that drops what comes has TCP try for two minutes.
function giveUpOn(sent: ClientRequest): void {
  sent.once('socket', (socket) => {
    if (!socket.connecting) return
    const late = () => sent.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' }))
    const timer = setTimeout(late, connectWithinMs)
    for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(timer))
  })
}

// Within the client all routes are alike.
function requestOf([asked = {}]: [asked?: Request]): Request {
  return asked
}

// Browsers, curl and git send *.localhost to this machine; Node asks the resolver, which does not know the name.
const lookupLocalhost: LookupFunction = (hostname, options, done) => {
  if (!isLocalhost(hostname)) {
    lookup(hostname, options, done)
    return
  }
  const addresses = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]
  process.nextTick(() => (options.all ? done(null, addresses) : done(null, '127.0.0.1', 4)))
}

function isLocalhost(hostname: string): boolean {
  return /(^|\.)localhost$/i.test(hostname)
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300
}

// What refuses may not be the platform but a proxy before it, with a page of its own.
function errorOf(text: string): { code?: string; message?: string } {
  try {
    const answer: unknown = JSON.parse(text)
    if (typeof answer !== 'object' || answer === null || !('error' in answer)) return {}
    const { error } = answer
    if (typeof error !== 'object' || error === null) return {}
    return {
      ...('code' in error && typeof error.code === 'string' && { code: error.code }),
      ...('message' in error && typeof error.message === 'string' && { message: error.message }),
    }
  } catch {
    return {}
  }
}
