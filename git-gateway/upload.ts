import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { AppError } from '../registry/errors.ts'
import type { UnpackClock } from './unpack-clock.ts'

const drainForMs = 30_000
// What git sends without splitting it into chunks (http.postBuffer).
const postBuffer = 1_048_576

/** A request's body without its content encoding; garbage in it is an error of the stream. Throws REQUEST_INVALID for other encodings. */
export function openBody(request: IncomingMessage): Readable {
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return request
  if (encoding !== 'gzip' && encoding !== 'x-gzip') {
    throw new AppError('REQUEST_INVALID', `the content encoding ${JSON.stringify(encoding)} is not understood`)
  }
  const body = createGunzip()
  // A body that has come whole is lost with its client all the same, when nobody has read it.
  const left = () => {
    if (!request.readableEnded) body.destroy(new Error('the client left'))
  }
  if (request.destroyed) left()
  request.on('close', left)
  // Heard by whoever reads; it may come when nobody does any more.
  body.on('error', () => undefined)
  return request.pipe(body)
}

/** True when the body of a push may hold more than git sends in one piece. */
export function mayBeLarge({ headers }: IncomingMessage): boolean {
  return headers['content-encoding'] !== undefined || !(Number(headers['content-length']) <= postBuffer)
}

/**
 * Feeds `head` and then the rest of a body to a child. Ends with `whole`, `oversize` (more than `maxBytes`; what came is lost), or `unread`
 * when the child stopped reading. Throws when the client leaves or sends garbage. `clock` runs while the child is waited for.
 */
export async function feed(
  head: Buffer,
  body: Readable,
  { into, maxBytes, clock }: { into: Writable; maxBytes: number; clock?: UnpackClock },
): Promise<'whole' | 'oversize' | 'unread'> {
  const give = async (chunk: Buffer) => {
    clock?.grant(chunk.length)
    clock?.start()
    const isRead = await write(into, chunk)
    clock?.pause()
    return isRead
  }
  let size = head.length
  if (!(await give(head))) return 'unread'
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    size += chunk.length
    if (size > maxBytes) return 'oversize'
    if (!(await give(chunk))) return 'unread'
  }
  clock?.start()
  into.end()
  return 'whole'
}

/**
 * Reads a request to its end for nothing, so that the client, which sends before it listens, hears the answer. As it came: inflating it
 * might be a day's work. Gives up after 30 s.
 */
export async function drain(request: IncomingMessage): Promise<void> {
  if (request.readableEnded || request.destroyed) return
  const timer = setTimeout(() => request.destroy(), drainForMs)
  request.unpipe()
  request.resume()
  await new Promise<void>((resolve) => {
    for (const event of ['end', 'close', 'error']) request.once(event, () => resolve())
  })
  clearTimeout(timer)
}

// False: nobody reads any more.
async function write(into: Writable, chunk: Buffer): Promise<boolean> {
  if (into.destroyed || into.errored) return false
  if (into.write(chunk)) return true
  const waiting = new AbortController()
  try {
    await Promise.race([
      once(into, 'drain', { signal: waiting.signal }),
      once(into, 'close', { signal: waiting.signal }),
    ])
  } catch (thrown) {
    if (into.errored) return false
    throw thrown
  } finally {
    waiting.abort()
  }
  return !into.destroyed
}
