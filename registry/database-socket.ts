import { Socket } from 'node:net'

/** Longer than the database lets any statement run: a healthy server has answered by then, if only with an error. */
export const defaultAnswerWithinMs = 25_000
/** What the database is asked to end statements after. */
export const statementTimeoutMs = 15_000
const keepAliveMs = 10_000

/**
 * A socket for a connection to Postgres that notices a server which vanished without a word (a machine that is off, packets that are
 * dropped): idle, by keep-alive probes within half a minute; with a question under way, when nothing at all comes back in `answerWithinMs`.
 * TCP by itself asks again for a quarter of an hour, and every query of the pool would wait with it. `null`: a question may take for ever.
 */
export class DatabaseSocket extends Socket {
  readonly #answerWithinMs: number | null
  #deadline: NodeJS.Timeout | null = null

  constructor({ answerWithinMs = defaultAnswerWithinMs }: { answerWithinMs?: number | null | undefined } = {}) {
    super()
    this.#answerWithinMs = answerWithinMs
    this.setKeepAlive(true, keepAliveMs)
    if (answerWithinMs !== null) this.on('data', () => this.#answered()).on('close', () => this.#answered())
  }

  // Not `write`: connecting puts Node's own in its place.
  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#asked()
    super._write(chunk, encoding, callback)
  }

  override _writev(
    chunks: { chunk: unknown; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    this.#asked()
    super._writev?.(chunks, callback)
  }

  #asked(): void {
    if (this.#answerWithinMs === null) return
    const message = `the database has not answered for ${this.#answerWithinMs} ms`
    const giveUp = () => this.destroy(Object.assign(new Error(message), { code: 'ETIMEDOUT' }))
    this.#deadline ??= setTimeout(giveUp, this.#answerWithinMs).unref()
  }

  #answered(): void {
    if (this.#deadline) clearTimeout(this.#deadline)
    this.#deadline = null
  }
}
