import { StringDecoder } from 'node:string_decoder'

const longestLine = 16_384

/** Bytes in, lines out: without their ends, cut at 16 kB, never splitting a character. */
export class LineSplitter {
  readonly #onLine: (line: string) => void
  readonly #decoder = new StringDecoder('utf8')
  #waiting = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  push(chunk: Buffer): void {
    const lines = (this.#waiting + this.#decoder.write(chunk)).split('\n')
    this.#waiting = lines.pop() ?? ''
    for (const line of lines) this.#emit(line)
    for (; this.#waiting.length > longestLine; this.#waiting = this.#waiting.slice(longestLine)) {
      this.#onLine(this.#waiting.slice(0, longestLine))
    }
  }

  /** Hands over a last line that has no end. */
  end(): void {
    const rest = this.#waiting + this.#decoder.end()
    this.#waiting = ''
    if (rest) this.#emit(rest)
  }

  #emit(line: string): void {
    const text = line.endsWith('\r') ? line.slice(0, -1) : line
    this.#onLine(text.length > longestLine ? `${text.slice(0, longestLine)}…` : text)
  }
}
