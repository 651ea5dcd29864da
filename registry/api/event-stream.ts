import type { Call } from './call.ts'
import { type ErrorBody, errorBody, showError } from './error-response.ts'

/** `id` is what a reader may come back with (`after`, or Last-Event-ID). */
export type StreamEvent = { id: number | null; data: { type: string } & Record<string, unknown> }

const checkPeriodMs = 4_000
const keepAlivePeriodMs = 15_000

/**
 * Events as they come, as lines of JSON, or as server-sent events when the request accepts those. Ends when the events end, the reader
 * leaves, the role stops, or the token is no longer good (asked every four seconds). Blank lines keep quiet connections open.
 */
export function streamEvents(call: Call, open: (signal: AbortSignal) => AsyncIterable<StreamEvent>): Response {
  const isSse = (call.request.headers.get('accept') ?? '').includes('text/event-stream')
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  void pump(new EventWriter(writable, isSse), call, open)
  return new Response(readable, {
    headers: {
      'content-type': isSse ? 'text/event-stream' : 'application/x-ndjson',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    },
  })
}

async function pump(
  writer: EventWriter,
  call: Call,
  open: (signal: AbortSignal) => AsyncIterable<StreamEvent>,
): Promise<void> {
  const revoked = new AbortController()
  const signal = AbortSignal.any([writer.left, revoked.signal, ...(call.closing ? [call.closing] : [])])
  const keepingAlive = setInterval(() => writer.keepAlive(), keepAlivePeriodMs)
  const checking = setInterval(() => void check(), checkPeriodMs)
  const check = async () => {
    // A database that does not answer says nothing about the token.
    const isGood = await call.stillGood().catch((thrown: unknown) => {
      call.log.warn({ err: thrown }, 'token of a stream could not be checked')
      return true
    })
    if (!isGood) revoked.abort()
  }
  try {
    for await (const event of open(signal)) await writer.write(event)
    if (revoked.signal.aborted)
      await writer.write(
        endWith(errorBody('UNAUTHENTICATED', 'the token is no longer valid, or no longer good for this')),
      )
  } catch (thrown) {
    await writer.write(endWith(showError(thrown, call)))
  } finally {
    clearInterval(keepingAlive)
    clearInterval(checking)
    await writer.close()
  }
}

/** Writes no faster than the reader reads; `left` is aborted when the reader goes, and writing is then without effect. */
class EventWriter {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #isSse: boolean
  readonly #encoder = new TextEncoder()
  readonly #left = new AbortController()

  constructor(writable: WritableStream<Uint8Array>, isSse: boolean) {
    this.#writer = writable.getWriter()
    this.#isSse = isSse
    this.#writer.closed.catch(() => this.#left.abort())
  }

  get left(): AbortSignal {
    return this.#left.signal
  }

  async write({ id, data }: StreamEvent): Promise<void> {
    const json = JSON.stringify(data)
    const head = id === null ? '' : `id: ${id}\n`
    await this.#send(this.#isSse ? `${head}event: ${data.type}\ndata: ${json}\n\n` : `${json}\n`)
  }

  keepAlive(): void {
    if ((this.#writer.desiredSize ?? 0) > 0) void this.#send(this.#isSse ? ':\n\n' : '\n')
  }

  async close(): Promise<void> {
    if (!this.left.aborted) await this.#writer.close().catch(() => this.#left.abort())
  }

  async #send(text: string): Promise<void> {
    if (!this.left.aborted) await this.#writer.write(this.#encoder.encode(text)).catch(() => this.#left.abort())
  }
}

function endWith(error: ErrorBody): StreamEvent {
  return { id: null, data: { type: 'end', deployment: null, ok: false, ...error } }
}
