import { StringDecoder } from 'node:string_decoder'

const longestLine = 16_384

/**
 * Bytes in, lines out: without their ends, never splitting a character. Of a line that overwrites itself (a progress bar) only what stands there at
 * last, of one longer than 16 kB its beginning: one line is one record, however it comes.
 */
export class LineSplitter {
  readonly #onLine: (line: string) => void
  readonly #decoder = new StringDecoder('utf8')
  #waiting = ''

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  push(chunk: Buffer): void {
    const lines = (this.#waiting + this.#decoder.write(chunk)).split('\n')
    const open = lines.pop() ?? ''
    for (const line of lines) this.#emit(line)
    // Bounded, for a program may print for hours without ending a line. A return at the end waits for what overwrites.
    this.#waiting = cut(lastWritten(open)) + (open.endsWith('\r') ? '\r' : '')
  }

  /** Hands over a last line that has no end. */
  end(): void {
    const rest = this.#waiting + this.#decoder.end()
    this.#waiting = ''
    if (rest) this.#emit(rest)
  }

  #emit(line: string): void {
    const text = lastWritten(line)
    this.#onLine(text.length > longestLine ? `${text.slice(0, longestLine)}…` : text)
  }
}

// One more than is shown, so that what is cut is known to be longer.
function cut(text: string): string {
  return text.length > longestLine ? text.slice(0, longestLine + 1) : text
}

const goesBack = /\x1b\[(?:[01]?G|2K)/g

/** What stands in a line after its carriage returns, and after the sequences that progress bars use in their place. */
function lastWritten(line: string): string {
  const written = line.includes('\x1b[') ? line.replace(goesBack, '\r') : line
  let end = written.length
  while (end > 0 && written[end - 1] === '\r') end -= 1
  return end === 0 ? '' : written.slice(written.lastIndexOf('\r', end - 1) + 1, end)
}
