import type { Readable } from 'node:stream'
import {
  ChannelClient,
  ChannelError,
  type ChannelFault,
  type ChannelResponse,
} from '../sandbox/isolate/channel-client.ts'
import type { HttpUpstreamLimits } from './http-upstream.ts'
import {
  type Exchange,
  type Upstream,
  UpstreamError,
  type UpstreamFault,
  type UpstreamRequest,
  type UpstreamResponse,
} from './upstream.ts'

/** Requests to an isolate over its channel (docs/isolate-channel.md). */
export class ChannelUpstream implements Upstream {
  readonly socketPath: string
  readonly speaks = 'channel'
  readonly #client: ChannelClient
  readonly #limits: HttpUpstreamLimits

  constructor(socketPath: string, limits: HttpUpstreamLimits) {
    this.socketPath = socketPath
    this.#client = new ChannelClient(socketPath)
    this.#limits = limits
  }

  send({ method, target, headers, body, bodyLength }: UpstreamRequest): Exchange {
    const call = this.#client.send({
      method,
      target,
      pairs: bodyLength === null || bodyLength === 0 ? headers : [...headers, 'content-length', String(bodyLength)],
      body: bodyLength === 0 ? null : body,
    })
    let fault: UpstreamError | null = null
    const end = (why: UpstreamFault, message: string) => {
      fault ??= new UpstreamError(why, message)
      call.abort()
    }
    if (bodyLength === null)
      countBody(body, this.#limits.maxBodyBytes, () => end('too-large', 'the request body is too large'))
    const timer = setTimeout(() => end('timeout', 'nothing came back in time'), this.#limits.headTimeoutMs)
    const response = call.response.then(
      (answer) => {
        clearTimeout(timer)
        if (!Buffer.isBuffer(answer.body)) this.#watch(answer, answer.body)
        return asUpstreamResponse(answer)
      },
      (thrown: unknown) => {
        clearTimeout(timer)
        throw fault ?? asUpstreamError(thrown)
      },
    )
    return { response, abort: () => end('aborted', 'the client is gone') }
  }

  close(): void {
    this.#client.close()
  }

  // An event stream may be silent for as long as it likes; a client that is gone is found by TCP's own keep-alive.
  #watch({ pairs }: ChannelResponse, body: Readable): void {
    const isEndless = pairs.some((text, index) => index % 2 === 1 && text.startsWith('text/event-stream'))
    if (isEndless) return
    const timer = setTimeout(
      () => body.destroy(new Error('the app stopped in mid-response')),
      this.#limits.idleTimeoutMs,
    )
    body.on('data', () => timer.refresh()).once('close', () => clearTimeout(timer))
    body.pause()
  }
}

function countBody(body: Readable, most: number, tooMuch: () => void): void {
  let bytes = 0
  body.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > most) tooMuch()
  })
}

function asUpstreamResponse({ status, reason, pairs, body }: ChannelResponse): UpstreamResponse {
  return { status: /^\d{3}$/.test(status) ? Number(status) : 0, reason, pairs, body, trailers: () => [] }
}

function asUpstreamError(thrown: unknown): UpstreamError {
  if (!(thrown instanceof ChannelError)) throw thrown
  return new UpstreamError(faults[thrown.fault], thrown.message, { cause: thrown })
}

const faults: Record<ChannelFault, UpstreamFault> = {
  unsent: 'unsent',
  lost: 'lost',
  refused: 'lost',
  torn: 'invalid',
  aborted: 'aborted',
}
