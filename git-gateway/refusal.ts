import type { IncomingMessage, ServerResponse } from 'node:http'
import { AppError, codeOf, ERRORS, toAppError } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { flushPacket, packet, sideband } from './pkt-line.ts'
import { drain } from './upload.ts'

// git has words of its own for these, or asks for another password.
const answeredByStatus = [401, 403, 404]

/**
 * Answers a request that failed with its reason as a sentence. git shows a plain body behind `remote:` when it answers its first request
 * (GET info/refs); of a POST that fails it shows the status alone, so there the sentence travels in git's own packets.
 */
export async function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  thrown: unknown,
  { log }: { log: Log },
): Promise<void> {
  const error = translate(thrown)
  const { status, fault } = ERRORS[error.code]
  if (fault === 'platform') log.error({ err: error, url: request.url }, 'git request failed')
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const text = error.code === 'INTERNAL' ? 'Something broke inside Atelier and is in its log.' : error.message
  const spoken = answeredByStatus.includes(status) ? null : inPackets(request, text)
  if (spoken) {
    await drain(request)
    send(response, 200, spoken)
    return
  }
  if (status === 401) response.setHeader('www-authenticate', 'Basic realm="Atelier", charset="UTF-8"')
  // The body of a refused request is not read.
  if (!request.complete) response.setHeader('connection', 'close')
  send(response, status, { type: 'text/plain', body: `${text}\n` })
}

export function send(
  response: ServerResponse,
  status: number,
  { type, body }: { type: string; body: string | Buffer },
): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(body)
}

// Null: who asks does not speak git.
function inPackets({ method, headers }: IncomingMessage, text: string): { type: string; body: Buffer } | null {
  const service = /^application\/x-(git-(?:upload|receive)-pack)-request$/.exec(headers['content-type'] ?? '')?.[1]
  if (method !== 'POST' || !service) return null
  const body =
    service === 'git-upload-pack'
      ? packet(`ERR ${text}`)
      : Buffer.concat([sideband(3, Buffer.from(`${text}\n`)), flushPacket])
  return { type: `application/x-${service}-result`, body }
}

// What zlib says of a body that is not what its content encoding promises.
function translate(thrown: unknown): AppError {
  if (!codeOf(thrown)?.startsWith('Z_')) return toAppError(thrown)
  return new AppError('REQUEST_INVALID', 'The body is not the gzip it says it is.', { cause: thrown })
}
