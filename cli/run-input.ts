import type { Client } from './client.ts'
import { Failure } from './failure.ts'

const largestPiece = 49_152
const mostWaiting = 262_144

/** Carries standard input to a command that runs, piece by piece, no faster than that reads it. */
export class RunInput {
  readonly #client: Client
  readonly #params: { app: string; run: string }
  readonly #closing = new AbortController()
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #hasEnded = false
  #isSending = false
  #seq = 0

  /** Reads until there is no more, or until `close`. */
  static open(client: Client, params: { app: string; run: string }): RunInput {
    const input = new RunInput(client, params)
    process.stdin.on('data', (chunk: Buffer) => input.#take(chunk))
    process.stdin.once('end', () => input.#end())
    process.stdin.once('error', () => input.#end())
    return input
  }

  private constructor(client: Client, params: { app: string; run: string }) {
    this.#client = client
    this.#params = params
  }

  close(): void {
    this.#closing.abort()
    process.stdin.removeAllListeners('data')
    // One that is open for ever would keep this process as long.
    process.stdin.destroy()
  }

  #take(chunk: Buffer): void {
    for (let from = 0; from < chunk.length; from += largestPiece)
      this.#waiting.push(chunk.subarray(from, from + largestPiece))
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes > mostWaiting) process.stdin.pause()
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
        await this.#put(piece, this.#hasEnded && this.#waiting.length === 0)
        this.#waitingBytes -= piece.length
        if (this.#waitingBytes <= mostWaiting) process.stdin.resume()
        if (this.#hasEnded && this.#waiting.length === 0) return
      }
      if (this.#hasEnded) await this.#put(Buffer.alloc(0), true)
    } catch (thrown) {
      // What has ended reads no more; a connection that is lost is noticed, and told, where the output comes from.
      if (!(thrown instanceof Failure)) throw thrown
      process.stdin.pause()
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
