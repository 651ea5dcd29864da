import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs'
import { rename, stat } from 'node:fs/promises'
import { codeOf } from '../../registry/errors.ts'

const maxLogBytes = 10 * 1_048_576
const maxLineBytes = 65_536
const warnLevel = 40

/** A line of a role's log that a person should see. */
export type LogLine = { level: 'warn' | 'error'; text: string }

/** Moves a log that has grown large to `<file>.1`, over the one before. */
export async function turnOver(file: string): Promise<void> {
  try {
    if ((await stat(file)).size > maxLogBytes) await rename(file, `${file}.1`)
  } catch (thrown) {
    if (codeOf(thrown) !== 'ENOENT') throw thrown
  }
}

/** Keeps what a role writes: every byte in a file (10 MB and the 10 MB before), warnings and errors handed on, the last lines at hand. */
export class RoleLog {
  readonly #file: string
  readonly #onLine: (line: LogLine) => void
  #fd: number
  #size: number
  #rest = ''
  #last: string[] = []
  #isClosed = false

  constructor(file: string, onLine: (line: LogLine) => void) {
    this.#file = file
    this.#onLine = onLine
    this.#fd = openSync(file, 'a', 0o600)
    this.#size = fstatSync(this.#fd).size
  }

  /** The role's last words, readable: for the sentence that says it does not start. */
  get lastLines(): string[] {
    return this.#last
  }

  write(chunk: Buffer): void {
    if (this.#isClosed) return
    this.#keep(chunk)
    const lines = (this.#rest + chunk.toString('utf8')).split('\n')
    this.#rest = (lines.pop() ?? '').slice(-maxLineBytes)
    for (const line of lines) this.#read(line)
  }

  close(): void {
    if (this.#rest) this.#read(this.#rest)
    this.#isClosed = true
    closeSync(this.#fd)
  }

  // A full disk must not end the supervisor: what cannot be kept is lost, and the terminal still shows warnings.
  #keep(chunk: Buffer): void {
    try {
      if (this.#size > maxLogBytes) this.#turnOver()
      this.#size += writeSync(this.#fd, chunk)
    } catch (thrown) {
      if (!['ENOSPC', 'EDQUOT', 'EIO'].includes(codeOf(thrown) ?? '')) throw thrown
    }
  }

  #turnOver(): void {
    renameSync(this.#file, `${this.#file}.1`)
    closeSync(this.#fd)
    this.#fd = openSync(this.#file, 'a', 0o600)
    this.#size = 0
  }

  #read(line: string): void {
    if (!line.trim()) return
    const read = readLogLine(line)
    this.#last = [...this.#last, read?.text ?? line].slice(-8)
    if (read) this.#onLine(read)
  }
}

/** A pino line of level warn or above as a sentence; text that is not a log line (a stack trace) is an error; what is milder is null. */
export function readLogLine(line: string): LogLine | null {
  const entry = parse(line)
  if (!entry) return { level: 'error', text: line }
  const { level, time: _time, role: _role, msg, err, ...fields } = entry
  if (typeof level !== 'number' || level < warnLevel) return null

  const facts = Object.entries(fields).map(([name, value]) => `${name}=${show(value)}`)
  const cause = typeof err === 'object' && err && 'message' in err ? [`(${err.message})`] : []
  return { level: level > warnLevel ? 'error' : 'warn', text: [msg, ...facts, ...cause].join(' ') }
}

function parse(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line)
  } catch {
    return null // cut in the middle, or a program's own text
  }
}

function show(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
