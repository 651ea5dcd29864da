import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'

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
export type UpstreamFault = 'unsent' | 'stale' | 'lost' | 'invalid' | 'timeout' | 'too-large' | 'aborted'

export class UpstreamError extends Error {
  readonly fault: UpstreamFault

  constructor(fault: UpstreamFault, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'UpstreamError'
    this.fault = fault
  }
}

/** One request on its way. `abort` ends it at any time; a response under way then ends with an error. */
export type Exchange = {
  /** The head, with the body to be read. Rejects with an UpstreamError; a body cut short ends with an error. */
  response: Promise<IncomingMessage>
  abort(): void
}

/** The way to one isolate, over which requests travel side by side. Everything that comes back is untrusted. */
export interface Upstream {
  /** Where WebSocket handshakes go. */
  readonly socketPath: string
  /** `fresh`: on a connection that no request has used before. */
  send(request: UpstreamRequest, options?: { fresh?: boolean }): Exchange
  close(): void
}
