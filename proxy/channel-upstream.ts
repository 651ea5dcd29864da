import type { Readable } from 'node:stream'
import { ChannelClient, type ChannelFault, type ChannelResponse } from '../sandbox/isolate/channel-client.ts'
import type { HttpUpstreamLimits } from './http-upstream.ts'
import {
  type Exchange,
  type Recipient,
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
    this.#client = new ChannelClient(socketPath, limits)
    this.#limits = limits
  }

  send({ method, target, headers, body, bodyLength }: UpstreamRequest, recipient: Recipient): Exchange {
    const hasLength = bodyLength !== null && bodyLength > 0
    return this.#client.ask(
      {
        method,
        target,
        pairs: hasLength ? [...headers, 'content-length', String(bodyLength)] : headers,
        body: bodyLength === 0 ? null : body,
        maxBodyBytes: this.#limits.maxBodyBytes,
      },
      {
        answered: (answer) => {
          if (!Buffer.isBuffer(answer.body)) this.#watch(answer, answer.body)
          recipient.answered(asUpstreamResponse(answer))
        },
        failed: ({ fault, message }) => recipient.failed(new UpstreamError(faults[fault], message)),
      },
    )
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

const threeDigits = /^\d{3}$/

function asUpstreamResponse({ status, reason, pairs, body }: ChannelResponse): UpstreamResponse {
  return { status: threeDigits.test(status) ? Number(status) : 0, reason, pairs, body, trailers: noTrailers }
}

const noTrailers = () => []

const faults: Record<ChannelFault, UpstreamFault> = {
  unsent: 'unsent',
  lost: 'lost',
  refused: 'lost',
  torn: 'invalid',
  late: 'timeout',
  'too-large': 'too-large',
  aborted: 'lost',
}
