import type { Socket } from 'node:net'
import { closeLingering } from '../../registry/lingering-close.ts'
import { type Notice, noticeResponse } from './pages.ts'

// So many are read on until they have heard why: they come above the most that a client may hold.
const mostLingering = 1_000

/**
 * Connections that end with a refusal and are used for nothing else. The parser goes on reading them, and what stands behind a request with two readings is
 * not one.
 */
export class TurnedAway {
  readonly #sockets = new WeakSet<Socket>()
  #lingering = 0

  has(socket: Socket): boolean {
    return this.#sockets.has(socket)
  }

  /** Its refusal is on its way. */
  add(socket: Socket): void {
    this.#sockets.add(socket)
  }

  /** Refuses a connection, whatever it has sent. */
  refuse(socket: Socket, notice: Notice): void {
    this.add(socket)
    if (this.#lingering >= mostLingering) {
      socket.end(noticeResponse(notice), () => socket.destroy())
      return
    }
    this.#lingering++
    socket.once('close', () => this.#lingering--)
    closeLingering(socket, noticeResponse(notice))
  }
}
