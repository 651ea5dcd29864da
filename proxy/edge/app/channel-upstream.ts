import type { Readable } from 'node:stream'
import {
  ChannelClient,
  type ChannelError,
  type ChannelFault,
  type ChannelRecipient,
  type ChannelResponse,
} from '../../../sandbox/isolate/channel-client.ts'
import type { HttpUpstreamLimits } from './http-upstream.ts'
import {
  type Exchange,
  type Recipient,
  type Upstream,
  UpstreamError,
  type UpstreamFault,
  type UpstreamRequest,
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
      new Asked(recipient, this.#limits),
    )
  }

  get inFlight(): number {
    return this.#client.inFlight
  }

  close(): void {
    this.#client.close()
  }
}

/** Passes an answer of the channel on as one of an upstream. */
class Asked implements ChannelRecipient {
  readonly #recipient: Recipient
  readonly #limits: HttpUpstreamLimits

  constructor(recipient: Recipient, limits: HttpUpstreamLimits) {
    this.#recipient = recipient
    this.#limits = limits
  }

  answered({ status, reason, pairs, body }: ChannelResponse): void {
    if (!Buffer.isBuffer(body)) watch(pairs, body, this.#limits.idleTimeoutMs)
    const number = threeDigits.test(status) ? Number(status) : 0
    this.#recipient.answered({ status: number, reason, pairs, body, trailers: noTrailers })
  }

  failed({ fault, message }: ChannelError): void {
    this.#recipient.failed(new UpstreamError(faults[fault], message))
  }
}

// An event stream may be silent for as long as it likes; a client that is gone is found by TCP's own keep-alive.
function watch(pairs: string[], body: Readable, idleTimeoutMs: number): void {
  const isEndless = pairs.some((text, index) => index % 2 === 1 && text.startsWith('text/event-stream'))
  if (isEndless) return
  const timer = setTimeout(() => body.destroy(new Error('the app stopped in mid-response')), idleTimeoutMs)
  body.on('data', () => timer.refresh()).once('close', () => clearTimeout(timer))
  body.pause()
}

const threeDigits = /^\d{3}$/

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
