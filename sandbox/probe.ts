import { type IncomingMessage, request } from 'node:http'
import { AppError, messageOf } from '../registry/errors.ts'

export type Probe = {
  status: number
  durationMs: number
  /** The first 64 kB of the body as text. */
  body: string
  headers: IncomingMessage['headers']
}

const longestBody = 65_536

/** GET over a unix socket. Throws APP_UNHEALTHY when no whole answer head and no first 64 kB came within `timeoutMs`. */
export async function probe({
  socketPath,
  path,
  timeoutMs,
  host,
}: {
  socketPath: string
  path: string
  timeoutMs: number
  /** The Host header. */
  host: string
}): Promise<Probe> {
  const started = performance.now()
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const answer = await get(socketPath, path, host, signal)
    const body = await readStart(answer)
    return { status: answer.statusCode ?? 0, durationMs: performance.now() - started, body, headers: answer.headers }
  } catch (cause) {
    const why = signal.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(cause)
    throw new AppError('APP_UNHEALTHY', `GET ${path}: ${why}`, { cause })
  }
}

function get(socketPath: string, path: string, host: string, signal: AbortSignal): Promise<IncomingMessage> {
  const headers = { host, 'user-agent': 'Atelier-Health-Check', connection: 'close' }
  return new Promise((answered, failed) => {
    request({ socketPath, path, headers, signal, agent: false }, answered).once('error', failed).end()
  })
}

async function readStart(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer) {
    chunks.push(chunk)
    size += chunk.length
    if (size >= longestBody) break
  }
  answer.destroy()
  return Buffer.concat(chunks).toString('utf8').slice(0, longestBody)
}
