import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { finishWritten } from './app/ready-response.ts'

/** Writes the answer to a request before there is a response. `whole`: the kernel has all of it; null: nothing has been done. */
export type EarlyAnswer = (request: IncomingMessage, socket: Socket) => 'whole' | 'begun' | null

type Incoming = (request: IncomingMessage, isKeptAlive: boolean) => unknown

const expected = new WeakSet<Socket>()

/** Whoever has just been sent what could have been written early is likely to ask for such again: on its connection requests are looked at. */
export function expectEarly(socket: Socket): void {
  expected.add(socket)
}

/**
 * Has requests on a connection answered, where that takes one write, before node:http makes a response for them: half of what the edge does for a small file in
 * memory was making a response, its events and its end (decision 0015). Node has no public door there, and the parser's `onIncoming` is what is called with a request
 * that has been read and checked by it. Not there: everything goes the way it always went. So do requests that are pipelined, have a body, or come on a
 * connection that will not be kept.
 */
export function answerEarly(socket: Socket, answer: EarlyAnswer): void {
  const parser: unknown = Reflect.get(socket, 'parser')
  if (typeof parser !== 'object' || parser === null) return
  const onIncoming: unknown = Reflect.get(parser, 'onIncoming')
  if (typeof onIncoming !== 'function') return
  const handle = onIncoming as Incoming
  const early: Incoming = (request, isKeptAlive) => {
    if (!expected.has(socket)) return handle(request, isKeptAlive)
    const written = isKeptAlive && isFree(socket) && isPlain(request) ? answer(request, socket) : null
    if (written === 'whole') return forget(request)
    if (written === 'begun') return finishWritten(socket, () => handle(request, isKeptAlive))
    expected.delete(socket)
    return handle(request, isKeptAlive)
  }
  Reflect.set(parser, 'onIncoming', early)
}

// Nothing is on its way to the client that this would overtake or wait behind.
function isFree(socket: Socket): boolean {
  return socket.writable && socket.writableLength === 0 && !Reflect.get(socket, '_httpMessage')
}

function isPlain({ method, httpVersion, upgrade, headers }: IncomingMessage & { upgrade?: boolean }): boolean {
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    upgrade !== true &&
    headers['content-length'] === undefined &&
    headers['transfer-encoding'] === undefined &&
    headers.expect === undefined
  )
}

// Nobody will read it. As Node does with requests that say they have no body (`optimizeEmptyRequests`): it has no end to tell of then.
function forget(request: IncomingMessage): 0 {
  const close: unknown = Reflect.get(request, '_dumpAndCloseReadable')
  if (typeof close === 'function') Reflect.apply(close, request, [])
  else request.resume()
  return 0
}
