import { request } from 'node:http'
import { Readable } from 'node:stream'
import { AppError, messageOf } from '../../registry/errors.ts'
import { ChannelClient } from './channel-client.ts'
import type { Speech } from './isolate-listen.ts'

export type Probe = {
  status: number
  durationMs: number
  /** The first 64 kB of the body as text. */
  body: string
}

const longestBody = 65_536
const userAgent = 'Atelier-Health-Check'

/** GET of an isolate. Throws APP_UNHEALTHY when no whole answer head and no first 64 kB came within `timeoutMs`. */
export async function probe({
  socketPath,
  speaks,
  path,
  timeoutMs,
  host,
}: {
  socketPath: string
  speaks: Speech
  path: string
  timeoutMs: number
  /** The Host header. */
  host: string
}): Promise<Probe> {
  const started = performance.now()
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const { status, body } = await (speaks === 'channel' ? call : get)(socketPath, path, host, signal)
    return { status, durationMs: performance.now() - started, body: await readStart(body) }
  } catch (cause) {
    const why = signal.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(cause)
    throw new AppError('APP_UNHEALTHY', `GET ${path}: ${why}`, { cause })
  }
}

type Answer = { status: number; body: Readable }

function get(socketPath: string, path: string, host: string, signal: AbortSignal): Promise<Answer> {
  const headers = { host, 'user-agent': userAgent, connection: 'close' }
  return new Promise((answered, failed) => {
    request({ socketPath, path, headers, signal, agent: false }, (answer) =>
      answered({ status: answer.statusCode ?? 0, body: answer }),
    )
      .once('error', failed)
      .end()
  })
}

async function call(socketPath: string, path: string, host: string, signal: AbortSignal): Promise<Answer> {
  const client = new ChannelClient(socketPath)
  const pairs = ['user-agent', userAgent, 'host', host, 'x-forwarded-proto', 'http']
  const asked = client.send({ method: 'GET', target: path, pairs, body: null })
  const close = () => client.close()
  signal.addEventListener('abort', close)
  try {
    const { status, body } = await asked.response
    const stream = Buffer.isBuffer(body) ? Readable.from([body]) : body
    return { status: Number(status), body: stream.once('close', close) }
  } catch (thrown) {
    close()
    throw thrown
  }
}

async function readStart(answer: Readable): Promise<string> {
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
