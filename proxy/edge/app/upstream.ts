import type { Readable } from 'node:stream'
import type { Speech } from '../../../sandbox/isolate/isolate.ts'

/** `target` is path and query; `headers` flat pairs without framing; `bodyLength` null = unknown (chunked), 0 = no body. */
export type UpstreamRequest = {
  method: string
  target: string
  headers: string[]
  body: Readable
  bodyLength: number | null
}

/**
 * Why a request got no response head. `unsent`: the app cannot have seen it, so it may be sent again whatever its method; `stale`: the
 * kept-alive connection it went out on was closed; `lost`: a new one was.
 */
export type UpstreamFault = 'unsent' | 'stale' | 'lost' | 'invalid' | 'timeout' | 'too-large'

export class UpstreamError extends Error {
  readonly fault: UpstreamFault

  constructor(fault: UpstreamFault, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'UpstreamError'
    this.fault = fault
  }
}

/** What an app answered, as it said it. `pairs` are header names and values by turns. */
export type UpstreamResponse = {
  status: number
  reason: string
  pairs: string[]
  /** A Buffer when it is there whole; a stream that is cut short ends with an error. */
  body: Buffer | Readable
  /** Pairs; known when the body is over. */
  trailers(): string[]
}

/** Who waits for an answer. One of the two is called, once, and never from within `send`; none after `abort`. */
export interface Recipient {
  /** Any number of times before either: a response (1xx but 101) that says another will follow. */
  interim?(status: number, pairs: string[]): void
  answered(response: UpstreamResponse): void
  failed(error: UpstreamError): void
}

/** One request on its way. `abort` ends it at any time, and is nothing once it is over; a response under way then ends with an error. */
export type Exchange = { abort(): void }

/** The way to one isolate, over which requests travel side by side. Everything that comes back is untrusted. */
export interface Upstream {
  /** Where WebSocket handshakes go, if it speaks HTTP. */
  readonly socketPath: string
  readonly speaks: Speech
  /** `fresh`: on a connection that no request has used before. */
  send(request: UpstreamRequest, recipient: Recipient, options?: { fresh?: boolean }): Exchange
  /** Requests on their way to it. */
  readonly inFlight: number
  close(): void
}
