import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

export type LingerLimits = {
  /** Nothing has come from the client for so long. */
  silenceMs: number
  /** In all, whatever comes. */
  mostMs: number
  mostBytes: number
}

// The times are those of nginx (lingering_timeout, lingering_time).
const defaultLimits: LingerLimits = { silenceMs: 5_000, mostMs: 30_000, mostBytes: 256 * 1_048_576 }
const looksPerSilence = 5

const lingering = new WeakSet<object>()

/**
 * Ends a connection so that its last answer arrives, be it `last` or written already: our side is closed, and what the client still sends is read
 * and dropped until it closes its own, or a limit is reached. A socket closed with bytes unread sends a reset, which overtakes the answer:
 * who is in the middle of an upload would see that instead (RFC 9112 §9.6).
 */
export function closeLingering(socket: Socket, last?: string, limits: LingerLimits = defaultLimits): void {
  if (lingering.has(socket)) return
  lingering.add(socket)
  if (last === undefined) socket.end()
  else socket.end(last)
  socket.resume()
  const begun = { at: performance.now(), bytes: socket.bytesRead }
  let heard = begun
  const timer = setInterval(() => {
    const now = { at: performance.now(), bytes: socket.bytesRead }
    if (now.bytes !== heard.bytes) heard = now
    const isTooLong = now.at - heard.at >= limits.silenceMs || now.at - begun.at >= limits.mostMs
    if (isTooLong || now.bytes - begun.bytes > limits.mostBytes) socket.destroy()
  }, limits.silenceMs / looksPerSilence)
  socket.once('close', () => clearInterval(timer))
}

/** Whether it has been ended, so that what comes on it is nobody's. */
export function isLingering(socket: object): boolean {
  return lingering.has(socket)
}

/** Has the connection linger when node:http ends it behind its last answer, unless this request has come whole by then. */
export function lingerAtEnd(request: IncomingMessage, { evenWhole = false }: { evenWhole?: boolean } = {}): void {
  const { socket } = request
  socket.destroySoon = () => {
    if (request.complete && !evenWhole) {
      Socket.prototype.destroySoon.call(socket)
      return
    }
    closeLingering(socket)
    request.unpipe().resume()
  }
}
