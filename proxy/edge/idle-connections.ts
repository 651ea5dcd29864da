import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Places } from '../../sandbox/isolate/isolate-places.ts'

type Watched = { socket: Socket; bytes: number; looks: number }

const looksPerLimit = 13

/**
 * Closes connections on which nothing has been asked for some time. One look at all of them every few seconds: `keepAliveTimeout` of node:http
 * makes a timer at the end of every answer, which costs a twentieth of a small request.
 */
export class IdleConnections {
  readonly #watched = new Places<Watched>()
  readonly #upgraded = new WeakSet<Socket>()
  readonly #timer: NodeJS.Timeout

  /** Idle for `limitMs`, or for a thirteenth more. */
  constructor(limitMs: number) {
    this.#timer = setInterval(() => this.#look(), limitMs / looksPerLimit)
    this.#timer.unref()
  }

  /** Watches a connection until it closes. */
  add(socket: Socket): void {
    const place = this.#watched.take({ socket, bytes: 0, looks: 0 })
    socket.once('close', () => this.#watched.leave(place))
  }

  /** It is HTTP no longer, and may be silent for as long as it likes. */
  leave(socket: Socket): void {
    this.#upgraded.add(socket)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    for (const watched of this.#watched) {
      const { socket } = watched
      const bytes = socket.bytesRead + socket.bytesWritten
      if (bytes !== watched.bytes || isAnswering(socket) || this.#upgraded.has(socket)) {
        watched.bytes = bytes
        watched.looks = 0
      } else if (++watched.looks >= looksPerLimit) socket.destroy()
    }
  }
}

// Where node:http, too, looks: the response on its way, if there is one.
function isAnswering(socket: Socket): boolean {
  return Reflect.get(socket, '_httpMessage') instanceof ServerResponse
}
