import { once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Config } from '../config.ts'
import { AppError, codeOf, messageOf } from '../errors.ts'
import { Egress, EgressRefused, type EgressUser, refusalOfLiteral } from './egress.ts'
import { bareHost, placeOf } from './egress-rules.ts'
import { readHostProxy } from './host-proxy.ts'

export type OutboundRequest = {
  /** `http:` or `https:`, without a user name in it. */
  url: string
  /** Default: GET. */
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  headers?: Record<string, string>
  body?: string | Buffer
  /** Ends the request early; what it was aborted with is thrown. */
  signal?: AbortSignal
}

export type OutboundAnswer = {
  status: number
  headers: IncomingHttpHeaders
  /** At most `answerBytes` of it. */
  body: Buffer
  /** False: the body was longer, or did not come to its end in time. */
  isWhole: boolean
  /** Where the answer came from, after redirects. */
  url: string
}

export type OutboundLimits = { redirects: number; timeoutMs: number; answerBytes: number }

/** `timeoutMs` is for all of it: names, connections, redirects, the answer to its last byte. */
export const outboundLimits: OutboundLimits = { redirects: 3, timeoutMs: 10_000, answerBytes: 65_536 }

/** Where people name whom the platform calls: on any port. */
export const forPlatform: EgressUser = {
  ports: 'any',
  whatToSet: 'to let the platform call it, name it in ATELIER_OUTBOUND_ALLOW on the server',
}

/** The platform's client by its settings: through the machine's own proxy where it has one. */
export function openOutboundHttp({ outboundAllow }: Pick<Config, 'outboundAllow'>): OutboundHttp {
  const settings = () => ({ rules: outboundAllow, hostProxy: readHostProxy(process.env) })
  return new OutboundHttp({ settings })
}

/**
 * HTTP from the platform to addresses that people of the platform named: receivers of webhooks, APIs of git hosts. It reaches the public internet
 * and what ATELIER_OUTBOUND_ALLOW names. Every connection, also after a redirect, is made to an address that was checked, and never kept
 * for another request.
 */
export class OutboundHttp {
  readonly #egress: Egress
  readonly #ca: string | undefined

  /** `ca`: certificates in PEM that are trusted besides nobody else; default: what Node trusts. The rest as for `Egress`. */
  constructor({ ca, ...egress }: Omit<ConstructorParameters<typeof Egress>[0], 'user'> & { ca?: string }) {
    this.#egress = new Egress({ ...egress, user: forPlatform })
    this.#ca = ca
  }

  /**
   * Any status is an answer. A redirect is followed with method and body as they are, but for a 303, which asks with GET; to another origin without
   * `authorization` and `cookie`. Throws OUTBOUND_REFUSED when an address may not be called, OUTBOUND_FAILED when no whole head of an
   * answer came in time; messages are sentences for people.
   */
  async send(request: OutboundRequest, limits: Partial<OutboundLimits> = {}): Promise<OutboundAnswer> {
    const { redirects, timeoutMs, answerBytes } = { ...outboundLimits, ...limits }
    const first = firstHop(request)
    const end = new AbortController()
    const late = new AppError('OUTBOUND_FAILED', `${first.url.host} did not answer within ${timeoutMs / 1000} s`)
    const timer = setTimeout(() => end.abort(late), timeoutMs)
    const onAbort = () => end.abort(request.signal?.reason)
    request.signal?.addEventListener('abort', onAbort, { once: true })
    try {
      request.signal?.throwIfAborted()
      const { hop, response } = await this.#follow(first, redirects, end.signal)
      const read = await readBody(response, answerBytes, end.signal)
      request.signal?.throwIfAborted()
      return { status: response.statusCode ?? 0, headers: response.headers, ...read, url: hop.url.href }
    } catch (thrown) {
      throw end.signal.aborted ? end.signal.reason : thrown
    } finally {
      clearTimeout(timer)
      request.signal?.removeEventListener('abort', onAbort)
    }
  }

  async #follow(first: Hop, redirects: number, signal: AbortSignal): Promise<{ hop: Hop; response: IncomingMessage }> {
    let hop = first
    for (let left = redirects; ; left -= 1) {
      const response = await this.#ask(hop, signal)
      const next = nextHop(hop, response)
      if (!next) return { hop, response }
      response.destroy()
      if (left === 0)
        throw new AppError('OUTBOUND_FAILED', `${first.url.host} redirects more often than ${redirects} times`)
      hop = next
    }
  }

  async #ask(hop: Hop, signal: AbortSignal): Promise<IncomingMessage> {
    const { url, method, headers, body } = hop
    try {
      const socket = await this.#connect(url, signal)
      const asked = requestHttp({
        createConnection: () => socket,
        method,
        path: `${url.pathname}${url.search}`,
        headers: {
          'user-agent': 'atelier',
          ...headers,
          host: url.host,
          ...(body && { 'content-length': String(body.length) }),
        },
        signal,
      })
      // Also after the head: whoever answers early may close before it has read everything.
      asked.on('error', () => socket.destroy())
      asked.end(body ?? undefined)
      const [response] = await once(asked, 'response', { signal })
      if (response.statusCode >= 200 && response.statusCode <= 599) return response
      throw new Error(`the status ${response.statusCode} means nothing`)
    } catch (thrown) {
      throw asAppError(url, thrown)
    }
  }

  async #connect(url: URL, signal: AbortSignal): Promise<Socket> {
    const socket = await this.#egress.dial(placeOf(url), signal)
    if (url.protocol === 'http:') return socket
    const host = bareHost(url.hostname)
    const secured = connectTls({
      socket,
      ALPNProtocols: ['http/1.1'],
      // For an address, no name is asked for (RFC 6066 §3), and the certificate must name the address.
      ...(isIP(host) ? { host } : { servername: host, host }),
      ...(this.#ca && { ca: this.#ca }),
    })
    const onAbort = () => secured.destroy()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await once(secured, 'secureConnect', { signal })
      return secured
    } finally {
      signal.removeEventListener('abort', onAbort)
      if (signal.aborted) secured.on('error', () => undefined).destroy()
    }
  }
}

type Hop = { url: URL; method: string; headers: Record<string, string>; body: Buffer | null }

function firstHop({ url: text, method = 'GET', headers = {}, body }: OutboundRequest): Hop {
  return {
    url: parseOutboundUrl(text),
    method,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
    body: body === undefined ? null : Buffer.from(body),
  }
}

/** What the platform can call: http or https, no user name. Throws REQUEST_INVALID. */
export function parseOutboundUrl(text: string): URL {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.port === '0')
    throw new AppError('REQUEST_INVALID', 'the address must be a URL that begins with https:// or http://')
  if (url.username || url.password)
    throw new AppError('REQUEST_INVALID', 'the address may not hold a user name or a password')
  return url
}

/**
 * The same for what is called later: an address that stands there as such and may never be called is refused at once. A name is not looked up,
 * for it may lead elsewhere by then: every connection is checked. Throws REQUEST_INVALID, OUTBOUND_REFUSED.
 */
export function parseCallableUrl(text: string, { outboundAllow }: Pick<Config, 'outboundAllow'>): URL {
  const url = parseOutboundUrl(text)
  const refusal = refusalOfLiteral(placeOf(url), outboundAllow, forPlatform)
  if (refusal) throw new AppError('OUTBOUND_REFUSED', refusal)
  return url
}

function nextHop(
  { url, method, headers, body }: Hop,
  { statusCode = 0, headers: answered }: IncomingMessage,
): Hop | null {
  if (![301, 302, 303, 307, 308].includes(statusCode) || !answered.location) return null
  const to = URL.parse(answered.location, url)
  if (!to || !/^https?:$/.test(to.protocol) || to.username || to.password)
    throw new AppError('OUTBOUND_FAILED', `${url.host} redirects to what is no address of the web`)
  if (url.protocol === 'https:' && to.protocol === 'http:')
    throw new AppError('OUTBOUND_FAILED', `${url.host} redirects from https to http`)
  const kept = to.origin === url.origin ? headers : without(headers, ['authorization', 'cookie'])
  if (statusCode !== 303) return { url: to, method, headers: kept, body }
  return { url: to, method: 'GET', headers: without(kept, ['content-type']), body: null }
}

function without(headers: Record<string, string>, names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)))
}

// The status has come by then, and that is an answer, whatever becomes of the rest.
async function readBody(
  response: IncomingMessage,
  answerBytes: number,
  signal: AbortSignal,
): Promise<{ body: Buffer; isWhole: boolean }> {
  const chunks: Buffer[] = []
  let size = 0
  const onAbort = () => response.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) onAbort()
    for await (const chunk of response) {
      chunks.push(chunk)
      size += chunk.length
      if (size > answerBytes) break
    }
  } catch {
    return { body: Buffer.concat(chunks).subarray(0, answerBytes), isWhole: false }
  } finally {
    signal.removeEventListener('abort', onAbort)
    response.destroy()
  }
  return { body: Buffer.concat(chunks).subarray(0, answerBytes), isWhole: size <= answerBytes && response.complete }
}

function asAppError(url: URL, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  if (thrown instanceof EgressRefused)
    return new AppError(thrown.status === 403 ? 'OUTBOUND_REFUSED' : 'OUTBOUND_FAILED', thrown.message, {
      cause: thrown,
    })
  const why = codeOf(thrown) ?? messageOf(thrown)
  return new AppError('OUTBOUND_FAILED', `${url.host} did not answer properly: ${why}`, { cause: thrown })
}
