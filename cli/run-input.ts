import type { Readable } from 'node:stream'
import type { Client } from './client.ts'
import { Failure } from './failure.ts'

const largestPiece = 49_152
const mostWaiting = 262_144

/** Carries standard input to a command that runs, piece by piece, no faster than that reads it. */
export class RunInput {
  readonly #client: Client
  readonly #params: { app: string; run: string }
  readonly #stdin: Readable
  readonly #closing = new AbortController()
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #hasEnded = false
  #isSending = false
  #seq = 0

  /** Reads until there is no more, or until `close`. */
  static open(client: Client, params: { app: string; run: string }, stdin: Readable = process.stdin): RunInput {
    const input = new RunInput(client, params, stdin)
    stdin.on('data', (chunk: Buffer) => input.#take(chunk))
    stdin.once('end', () => input.#end())
    stdin.once('error', () => input.#end())
    return input
  }

  private constructor(client: Client, params: { app: string; run: string }, stdin: Readable) {
    this.#client = client
    this.#params = params
    this.#stdin = stdin
  }

  close(): void {
    this.#closing.abort()
    this.#stdin.removeAllListeners('data')
    // One that is open for ever would keep this process as long.
    this.#stdin.destroy()
  }

  #take(chunk: Buffer): void {
    for (let from = 0; from < chunk.length; from += largestPiece)
      this.#waiting.push(chunk.subarray(from, from + largestPiece))
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes > mostWaiting) this.#stdin.pause()
    void this.#send()
  }

  #end(): void {
    this.#hasEnded = true
    void this.#send()
  }

  async #send(): Promise<void> {
    if (this.#isSending) return
    this.#isSending = true
    try {
      while (this.#waiting.length > 0) {
        const piece = this.#waiting.shift() ?? Buffer.alloc(0)
        // Decided before it is sent: an end that comes meanwhile was not told yet.
        const isLast = this.#hasEnded && this.#waiting.length === 0
        await this.#put(piece, isLast)
        if (isLast) return
        this.#waitingBytes -= piece.length
        if (this.#waitingBytes <= mostWaiting) this.#stdin.resume()
      }
      if (this.#hasEnded) await this.#put(Buffer.alloc(0), true)
    } catch (thrown) {
      // What has ended reads no more; a connection that is lost is noticed, and told, where the output comes from.
      if (!(thrown instanceof Failure)) throw thrown
      this.#stdin.pause()
      return
    }
    this.#isSending = false
  }

  async #put(data: Buffer, end: boolean): Promise<void> {
    const json = { seq: this.#seq++, data: data.toString('base64'), end }
    for (let isTaken = false; !isTaken; ) {
      const asked = { params: this.#params, json, signal: this.#closing.signal }
      isTaken = (await this.#client.call('POST apps/{app}/runs/{run}/input', asked)).taken
    }
  }
}
