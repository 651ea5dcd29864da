import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export type StallLimits = { stallWindowMs: number; stallMinBytes: number }

/** `since` is null until the first look. */
type Progress = {
  request: IncomingMessage
  response: ServerResponse
  socket: Socket
  bytes: number
  since: number | null
}

/**
 * Ends requests that a client lets stand: over a whole window it was the client that was waited for, and fewer than the least bytes
 * moved (security.md E5). Waiting for the app counts for nobody. A body that still comes when its answer has been given is watched, too.
 */
export class StallWatch {
  readonly #limits: StallLimits
  readonly #watched = new Map<ServerResponse, Progress>()
  readonly #timer: NodeJS.Timeout

  constructor(limits: StallLimits) {
    this.#limits = limits
    this.#timer = setInterval(() => this.#look(), limits.stallWindowMs / 6)
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    this.begin(request, response)
    response.on('close', () => this.end(request, response))
  }

  /** Watches it until `end` is said of its response; counts from the next look on, so that one that is over before costs next to nothing. */
  begin(request: IncomingMessage, response: ServerResponse): void {
    this.#watched.set(response, { request, response, socket: request.socket, bytes: 0, since: null })
  }

  end(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete || request.socket.destroyed) this.#watched.delete(response)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const now = performance.now()
    for (const progress of this.#watched.values()) {
      const { request, response, socket } = progress
      if (response.closed && (request.complete || socket.destroyed)) {
        this.#watched.delete(response)
        continue
      }
      const bytes = movedBytes(socket)
      if (progress.since === null || !waitsForClient(progress)) Object.assign(progress, { bytes, since: now })
      else if (now - progress.since >= this.#limits.stallWindowMs) {
        if (bytes - progress.bytes < this.#limits.stallMinBytes) socket.destroy()
        Object.assign(progress, { bytes, since: now })
      }
    }
  }
}

function waitsForClient({ request, socket }: Progress): boolean {
  const isUploading = !request.complete && request.readableFlowing === true
  return isUploading || socket.writableLength > 0
}

function movedBytes(socket: Socket): number {
  return socket.bytesRead + socket.bytesWritten - socket.writableLength
}
