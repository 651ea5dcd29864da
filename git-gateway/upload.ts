import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { AppError } from '../registry/errors.ts'

const drainForMs = 30_000

/** A request's body without its content encoding; garbage in it is an error of the stream. Throws REQUEST_INVALID for other encodings. */
export function openBody(request: IncomingMessage): Readable {
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return request
  if (encoding !== 'gzip' && encoding !== 'x-gzip') {
    throw new AppError('REQUEST_INVALID', `the content encoding ${JSON.stringify(encoding)} is not understood`)
  }
  const body = createGunzip()
  request.on('close', () => {
    if (!request.complete) body.destroy(new Error('the client left'))
  })
  return request.pipe(body)
}

/**
 * Feeds `head` and then the rest of a body to a child. Ends with `whole`, `oversize` (more than `maxBytes`; what came is lost), or `unread`
 * when the child stopped reading. Throws when the client leaves or sends garbage.
 */
export async function feed(
  head: Buffer,
  body: Readable,
  { into, maxBytes }: { into: Writable; maxBytes: number },
): Promise<'whole' | 'oversize' | 'unread'> {
  let size = head.length
  if (!(await write(into, head))) return 'unread'
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    size += chunk.length
    if (size > maxBytes) return 'oversize'
    if (!(await write(into, chunk))) return 'unread'
  }
  into.end()
  return 'whole'
}

/** Reads a body to its end for nothing, so that the client, which sends before it listens, hears the answer. Gives up after 30 s. */
export async function drain(body: Readable): Promise<void> {
  if (body.readableEnded || body.destroyed) return
  const timer = setTimeout(() => body.destroy(), drainForMs)
  body.resume()
  await new Promise<void>((resolve) => {
    for (const event of ['end', 'close', 'error']) body.once(event, () => resolve())
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
