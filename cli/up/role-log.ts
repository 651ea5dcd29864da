import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeFileSync } from 'node:fs'
import { open, rename, stat, writeFile } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import { codeOf } from '../../registry/errors.ts'
import { type LogLine, readLogLine } from './log-line.ts'

const maxLogBytes = 10 * 1_048_576
const maxLineLength = 65_536
const floodBytes = 4 * 1_048_576
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

/** The same while its program appends to it: the file is emptied, not replaced, and its last 10 MB are kept. A line written between the two is lost. */
export async function emptyOver(file: string): Promise<void> {
  await using log = await open(file, 'r+')
  const { size } = await log.stat()
  if (size <= maxLogBytes) return
  const { buffer } = await log.read(Buffer.alloc(maxLogBytes), { position: size - maxLogBytes })
  await writeFile(`${file}.1`, buffer, { mode: 0o600 })
  await log.truncate()
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

  /** Reads what was written since the last look; of a flood only the end. */
  look(): void {
    const { size } = fstatSync(this.fd)
    if (size < this.#readUpTo) this.#readUpTo = 0 // someone emptied it
    if (size - this.#readUpTo > floodBytes) {
      this.#readUpTo = size - this.#buffer.length
      this.#rest = ''
    }
    while (this.#readUpTo < size && this.#read() > 0);
    if (size > maxLogBytes) this.#turnOver(size)
  }

  close(): void {
    clearInterval(this.#looking)
    this.look()
    closeSync(this.fd)
  }

  #read(): number {
    const count = readSync(this.fd, this.#buffer, { position: this.#readUpTo })
    this.#readUpTo += count
    const lines = (this.#rest + this.#decoder.write(this.#buffer.subarray(0, count))).split('\n')
    this.#rest = (lines.pop() ?? '').slice(-maxLineLength)
    for (const line of lines) this.#hear(line)
    return count
  }

  // The role appends through its own descriptor: the file is emptied, not replaced. A line written between the two is lost.
  #turnOver(size: number): void {
    const kept = Buffer.alloc(maxLogBytes)
    readSync(this.fd, kept, { position: size - maxLogBytes })
    writeFileSync(`${this.#file}.1`, kept, { mode: 0o600 })
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
