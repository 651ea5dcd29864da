import { request } from 'node:http'
import { Readable } from 'node:stream'
import { AppError, messageOf } from '../../registry/errors.ts'
import { ChannelClient } from './channel-client.ts'
import type { Speech } from './isolate-listen.ts'

export type Question = {
  socketPath: string
  speaks: Speech
  path: string
  /** For head and body together. */
  timeoutMs: number
  /** The Host header. */
  host: string
  /** What of the body is read; 0: none of it is waited for. */
  mostBytes: number
  userAgent: string
  /** How visitors come; default: http. */
  protocol?: 'http' | 'https'
}

export type Answer = {
  status: number
  /** As the app wrote them, in their order; names in lower case. */
  headers: [name: string, value: string][]
  body: Buffer
  /** There was more of the body than `mostBytes`. */
  isCut: boolean
  durationMs: number
}

export type Probe = {
  status: number
  durationMs: number
  /** The first 64 kB of the body as text. */
  body: string
}

const longestBody = 65_536

/** GET of an isolate. Throws APP_UNHEALTHY when no whole answer head and no first 64 kB came within `timeoutMs`. */
export async function probe(question: Omit<Question, 'mostBytes' | 'userAgent'>): Promise<Probe> {
  const asked = { ...question, mostBytes: longestBody, userAgent: 'Atelier-Health-Check' }
  const { status, durationMs, body } = await ask(asked)
  return { status, durationMs, body: body.toString('utf8') }
}

/** GET of an isolate, with what it answers. Throws APP_UNHEALTHY when the answer did not come within `timeoutMs`, or broke off. */
export async function ask(question: Question): Promise<Answer> {
  const { path, timeoutMs, mostBytes } = question
  const started = performance.now()
  const signal = AbortSignal.timeout(Math.ceil(timeoutMs))
  try {
    const { status, pairs, body } = await (question.speaks === 'channel' ? call : get)(question, signal)
    const start = await readStart(body, mostBytes)
    return { status, headers: inPairs(pairs), ...start, durationMs: performance.now() - started }
  } catch (cause) {
    const why = signal.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(cause)
    throw new AppError('APP_UNHEALTHY', `GET ${path}: ${why}`, { cause })
  }
}

type Head = { status: number; pairs: string[]; body: Readable }

function get({ socketPath, path, host, userAgent, protocol }: Question, signal: AbortSignal): Promise<Head> {
  const headers = {
    ...{ host, 'user-agent': userAgent, connection: 'close' },
    ...(protocol && { 'x-forwarded-proto': protocol }),
  }
  return new Promise((answered, failed) => {
    request({ socketPath, path, headers, signal, agent: false }, (answer) =>
      answered({ status: answer.statusCode ?? 0, pairs: answer.rawHeaders, body: answer }),
    )
      .once('error', failed)
      .end()
  })
}

async function call(
  { socketPath, path, host, userAgent, protocol = 'http' }: Question,
  signal: AbortSignal,
): Promise<Head> {
  const client = new ChannelClient(socketPath)
  const pairs = ['user-agent', userAgent, 'host', host, 'x-forwarded-proto', protocol]
  const asked = client.send({ method: 'GET', target: path, pairs, body: null })
  const close = () => client.close()
  signal.addEventListener('abort', close)
  try {
    const { status, pairs: answered, body } = await asked.response
    const stream = Buffer.isBuffer(body) ? Readable.from([body]) : body
    return { status: Number(status), pairs: answered, body: stream.once('close', close) }
  } catch (thrown) {
    close()
    throw thrown
  }
}

function inPairs(flat: string[]): Answer['headers'] {
  return Array.from({ length: flat.length / 2 }, (_, at) => [
    (flat[2 * at] ?? '').toLowerCase(),
    flat[2 * at + 1] ?? '',
  ])
}

async function readStart(answer: Readable, mostBytes: number): Promise<{ body: Buffer; isCut: boolean }> {
  if (mostBytes === 0) {
    // What still comes is nobody's, and neither is how it ends.
    answer.on('error', () => {}).destroy()
    return { body: Buffer.alloc(0), isCut: true }
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer) {
    chunks.push(chunk)
    size += chunk.length
    if (size > mostBytes) break
  }
  answer.destroy()
  return { body: Buffer.concat(chunks).subarray(0, mostBytes), isCut: size > mostBytes }
}
