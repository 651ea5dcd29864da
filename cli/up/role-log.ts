import { closeSync, copyFileSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { rename, stat } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import { codeOf } from '../../registry/errors.ts'
import { type LogLine, readLogLine } from './log-line.ts'

const maxLogBytes = 10 * 1_048_576
const maxLineLength = 65_536
const lookEveryMs = 250
const lastLinesKept = 8

/** Moves a log that has grown large to `<file>.1`, over the one before. */
export async function turnOver(file: string): Promise<void> {
  try {
    if ((await stat(file)).size > maxLogBytes) await rename(file, `${file}.1`)
  } catch (thrown) {
    if (codeOf(thrown) !== 'ENOENT') throw thrown
  }
}

/**
 * The file a role writes to by itself, so that its log is whole also when the supervisor was killed, and reading along in it: warnings and
 * errors are handed on, the last lines are at hand. It holds 10 MB; `<file>.1` holds the 10 MB before.
 */
export class RoleLog {
  /** For the role's stdout and stderr. */
  readonly fd: number
  readonly #file: string
  readonly #onLine: (line: LogLine) => void
  readonly #looking: NodeJS.Timeout
  readonly #buffer = Buffer.alloc(65_536)
  readonly #decoder = new StringDecoder('utf8')
  #readUpTo: number
  #rest = ''
  #lastLines: string[] = []

  constructor(file: string, onLine: (line: LogLine) => void) {
    this.#file = file
    this.#onLine = onLine
    this.fd = openSync(file, 'a+', 0o600)
    this.#readUpTo = fstatSync(this.fd).size
    this.#looking = setInterval(() => this.look(), lookEveryMs)
  }

  /** What the role said last, readable: for the sentence that says it does not start. */
  get lastLines(): string[] {
    this.look()
    return this.#lastLines
  }

  /** Reads what was written since the last look. */
  look(): void {
    for (let count = this.#read(); count > 0; count = this.#read()) {
      const lines = (this.#rest + this.#decoder.write(this.#buffer.subarray(0, count))).split('\n')
      this.#rest = (lines.pop() ?? '').slice(-maxLineLength)
      for (const line of lines) this.#hear(line)
    }
    if (this.#readUpTo > maxLogBytes) this.#turnOver()
  }

  close(): void {
    clearInterval(this.#looking)
    this.look()
    closeSync(this.fd)
  }

  #read(): number {
    const count = readSync(this.fd, this.#buffer, { position: this.#readUpTo })
    this.#readUpTo += count
    return count
  }

  // The role appends through its own descriptor: the file is emptied, not replaced. A line written between the two may be lost.
  #turnOver(): void {
    copyFileSync(this.#file, `${this.#file}.1`)
    ftruncateSync(this.fd)
    this.#readUpTo = 0
  }

  #hear(line: string): void {
    if (!line.trim()) return
    const read = readLogLine(line)
    this.#lastLines = [...this.#lastLines, read?.text ?? line].slice(-lastLinesKept)
    if (read) this.#onLine(read)
  }
}
