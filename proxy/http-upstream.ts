import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { codeOf, messageOf } from '../registry/errors.ts'
import { rawHead } from './response-head.ts'
import {
  type Exchange,
  type Recipient,
  type Upstream,
  UpstreamError,
  type UpstreamFault,
  type UpstreamRequest,
  type UpstreamResponse,
} from './upstream.ts'

/** `headTimeoutMs`: silence allowed before the response head; `idleTimeoutMs`: after it. */
export type HttpUpstreamLimits = { headTimeoutMs: number; idleTimeoutMs: number; maxBodyBytes: number }

const maxInterimResponses = 16
// An app closes idle connections after 5 s (Node's default): one that was idle for longer than this is not used again, and an app
// that names a shorter time in its Keep-Alive header is believed.
const idleSocketMs = 3_000

/** Requests to an isolate as HTTP/1.1 over its unix socket, on kept-alive connections. */
export class HttpUpstream implements Upstream {
  readonly socketPath: string
  readonly speaks = 'http'
  readonly #limits: HttpUpstreamLimits
  readonly #agent: Agent
  readonly #freshAgent = new Agent({ keepAlive: false })

  constructor(socketPath: string, limits: HttpUpstreamLimits) {
    this.socketPath = socketPath
    this.#limits = limits
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 1024,
      maxFreeSockets: 256,
      scheduling: 'lifo',
      timeout: idleSocketMs,
    })
  }

  send(request: UpstreamRequest, recipient: Recipient, { fresh = false }: { fresh?: boolean } = {}): Exchange {
    const outgoing = httpRequest({
      socketPath: this.socketPath,
      agent: fresh ? this.#freshAgent : this.#agent,
      method: request.method,
      path: request.target,
      headers: [...request.headers, ...framing(request)],
      setDefaultHeaders: false,
      timeout: this.#limits.headTimeoutMs,
    })
    return follow(outgoing, request, recipient, this.#limits)
  }

  close(): void {
    this.#agent.destroy()
  }
}

function follow(
  outgoing: ClientRequest,
  request: UpstreamRequest,
  recipient: Recipient,
  limits: HttpUpstreamLimits,
): Exchange {
  let settled = false
  let connected = false
  let interim = 0
  const reject = (error: () => UpstreamError) => {
    if (settled) return
    settled = true
    recipient.failed(error())
  }
  const fail = (fault: UpstreamFault, message: string) => {
    reject(() => new UpstreamError(fault, message))
    outgoing.destroy()
  }

  outgoing.on('socket', (socket) => {
    // The body is not touched before there is a connection: until then the request can still go elsewhere.
    const start = () => {
      connected = true
      sendBody(outgoing, request, limits, fail)
    }
    if (socket.connecting) socket.once('connect', start)
    else start()
  })
  outgoing.on('information', () => {
    if (++interim > maxInterimResponses) fail('invalid', 'it sends interim responses without end')
  })
  outgoing.on('upgrade', (_response, socket) => {
    socket.destroy()
    fail('invalid', 'it switched protocols unasked')
  })
  outgoing.on('timeout', () => fail('timeout', 'nothing came back in time'))
  outgoing.on('response', (response) => {
    // An event stream may be silent for as long as it likes; a client that is gone is found by TCP's own keep-alive.
    const isEndless = response.headers['content-type']?.startsWith('text/event-stream') === true
    outgoing.setTimeout(isEndless ? 0 : limits.idleTimeoutMs)
    if (settled) return
    settled = true
    recipient.answered(asUpstreamResponse(response))
  })
  outgoing.on('error', (error) => {
    const fault = connected ? faultOf(error, outgoing.reusedSocket) : 'unsent'
    reject(() => new UpstreamError(fault, messageOf(error), { cause: error }))
  })
  outgoing.on('close', () => reject(() => new UpstreamError('lost', 'the connection was closed')))

  const abort = () => {
    settled = true
    outgoing.destroy()
  }
  return { abort }
}

function asUpstreamResponse(message: IncomingMessage): UpstreamResponse {
  return { ...rawHead(message), body: message, trailers: () => message.rawTrailers }
}

// Exactly one framing, always stated: left to itself, node:http sends the body of a DELETE without one, and what follows is read as
// a second request (security.md §1.10).
function framing({ method, bodyLength }: UpstreamRequest): string[] {
  if (bodyLength === null) return ['transfer-encoding', 'chunked']
  if (bodyLength > 0) return ['content-length', String(bodyLength)]
  return method === 'POST' || method === 'PUT' || method === 'PATCH' ? ['content-length', '0'] : []
}

function sendBody(
  outgoing: ClientRequest,
  { body, bodyLength }: UpstreamRequest,
  { maxBodyBytes }: HttpUpstreamLimits,
  fail: (fault: UpstreamFault, message: string) => void,
): void {
  if (bodyLength === 0) {
    outgoing.end()
    return
  }
  if (bodyLength === null) {
    let bytes = 0
    body.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > maxBodyBytes) fail('too-large', 'the request body is too large')
    })
  }
  body.pipe(outgoing)
}

function faultOf(error: unknown, reused: boolean): UpstreamFault {
  const code = codeOf(error) ?? ''
  if (code.startsWith('HPE_')) return 'invalid'
  return reused && (code === 'ECONNRESET' || code === 'EPIPE') ? 'stale' : 'lost'
}
