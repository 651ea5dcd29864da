import type { IncomingMessage, ServerResponse } from 'node:http'

export type StallLimits = { stallWindowMs: number; stallMinBytes: number }

type Progress = { request: IncomingMessage; response: ServerResponse; bytes: number; since: number }

/**
 * Ends requests that a client lets stand: over a whole window it was the client that was waited for, and fewer than the least bytes
 * moved (security.md E5). Waiting for the app counts for nobody.
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
    this.#watched.set(response, { request, response, bytes: movedBytes(response), since: performance.now() })
    response.on('close', () => this.#watched.delete(response))
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const now = performance.now()
    for (const progress of this.#watched.values()) {
      const bytes = movedBytes(progress.response)
      if (!waitsForClient(progress)) Object.assign(progress, { bytes, since: now })
      else if (now - progress.since >= this.#limits.stallWindowMs) {
        if (bytes - progress.bytes < this.#limits.stallMinBytes) progress.response.destroy()
        Object.assign(progress, { bytes, since: now })
      }
    }
  }
}

function waitsForClient({ request, response }: Progress): boolean {
  const isUploading = !request.complete && request.readableFlowing === true
  return isUploading || (response.socket?.writableLength ?? 0) > 0
}

function movedBytes({ socket }: ServerResponse): number {
  return socket ? socket.bytesRead + socket.bytesWritten - socket.writableLength : 0
}
