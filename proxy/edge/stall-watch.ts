import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Places } from '../../sandbox/isolate/isolate-places.ts'

export type StallLimits = { stallWindowMs: number; stallMinBytes: number }

/** `since` is null until the first look. */
export type Progress = {
  request: IncomingMessage
  response: ServerResponse
  socket: Socket
  place: number
  bytes: number
  since: number | null
}

/**
 * Ends requests that a client lets stand: over a whole window it was the client that was waited for, and fewer than the least bytes
 * moved (security.md E5). Waiting for the app counts for nobody. A body that still comes when its answer has been given is watched, too.
 */
export class StallWatch {
  readonly #limits: StallLimits
  readonly #watched = new Places<Progress>()
  readonly #timer: NodeJS.Timeout

  constructor(limits: StallLimits) {
    this.#limits = limits
    this.#timer = setInterval(() => this.#look(), limits.stallWindowMs / 6)
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    const progress = this.begin(request, response)
    response.on('close', () => this.end(progress))
  }

  /**
   * Watches it until `end`, which is told what this returns when the response is closed. It counts from the next look on, so that one that is over
   * before costs next to nothing.
   */
  begin(request: IncomingMessage, response: ServerResponse): Progress {
    const progress = { request, response, socket: request.socket, place: 0, bytes: 0, since: null }
    progress.place = this.#watched.take(progress)
    return progress
  }

  end({ request, socket, place }: Progress): void {
    if (request.complete || socket.destroyed) this.#watched.leave(place)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const now = performance.now()
    for (const progress of this.#watched) {
      const { request, response, socket, place } = progress
      if (response.closed && (request.complete || socket.destroyed)) {
        this.#watched.leave(place)
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

function waitsForClient({ request, response, socket }: Progress): boolean {
  // When there is an answer, nobody but the client can be the one who takes so long.
  const isUploading = !request.complete && (response.closed || request.readableFlowing === true)
  return isUploading || socket.writableLength > 0
}

function movedBytes(socket: Socket): number {
  return socket.bytesRead + socket.bytesWritten - socket.writableLength
}
