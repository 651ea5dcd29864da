import { messageOf } from './errors.ts'
import { channels } from './routes.ts'
import type { Db } from './sql.ts'

export type LogLine = { seq: number; at: Date; text: string }

const maxLogBytes = 16 * 1_048_576
const maxLineLength = 4_000

/**
 * Appends lines in order. Control characters other than SGR colours are dropped and long lines cut; after 16 MB one line says that the
 * rest is not kept. Wakes the followers when the transaction commits.
 */
export async function appendBuildLog(sql: Db, deploymentId: string, lines: string[]): Promise<void> {
  if (lines.length === 0) return
  const texts = lines.map(cleanLine)
  await sql`
    with log as (
      update build_logs
      set last_seq = last_seq + case when truncated then 0 when bytes > ${maxLogBytes} then 1 else ${texts.length} end,
          bytes = bytes + ${texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0)},
          truncated = truncated or bytes > ${maxLogBytes}
      where deployment_id = ${deploymentId}
        and not truncated
      returning last_seq, truncated
    ), lines as (
      select text, position
      from unnest(${texts}::text[]) with ordinality as given (text, position)
      where not (select truncated from log)
      union all
      select 'the log is longer than 16 MB; the rest is not kept', 1
      where (select truncated from log)
    )
    insert into build_log_lines (deployment_id, seq, text)
    select ${deploymentId}, log.last_seq - (select count(*) from lines) + lines.position, lines.text
    from log, lines
  `
  await sql`select pg_notify(${channels.buildLogs}, ${deploymentId})`
}

/** Up to `limit` lines after `after` (a seq; 0 = from the start). */
export async function readBuildLog(
  sql: Db,
  deploymentId: string,
  { after = 0, limit = 1000 }: { after?: number; limit?: number } = {},
): Promise<LogLine[]> {
  return sql<LogLine[]>`
    select seq, at, text
    from build_log_lines
    where deployment_id = ${deploymentId}
      and seq > ${after}
    order by seq
    limit ${limit}
  `
}

/**
 * A line as it may be shown anywhere, and one line whatever is in it: SGR colours survive and end with the line, every other control character goes, also bidirectional overrides.
 * Cut at 4,000 characters.
 */
export function cleanLine(line: string): string {
  // Cut before the expressions run: a program may print a line of a gigabyte.
  const bounded = line.length > maxLineLength ? `${line.slice(0, maxLineLength)} … (cut)` : line
  const text = withoutControls(bounded)
  const last = text.includes('\x1b') ? text.slice(text.lastIndexOf('\x1b[')) : ''
  // Else a colour, or writing that cannot be seen, would go on into the lines of others.
  return last === '' || /^\x1b\[0*m/.test(last) ? text : `${text}\x1b[0m`
}

// Of what `withoutControls` changes something has to be there, or a half of a character, or white space at the end.
const mayChange = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/

/** The same with the whole length, and its last colour. */
export function withoutControls(line: string): string {
  // Apps log lines by the ten thousand, and most hold nothing of that.
  if (!mayChange.test(line)) return line.trimEnd()
  // What overwrites itself (progress bars) shows its last version.
  const written = (line.includes('\n') ? onOneLine(line) : line).trimEnd()
  return written
    .slice(written.lastIndexOf('\r') + 1)
    .replaceAll('\u0001', '')
    .replace(/\x1b\[[0-9;]*m/g, (colour) => colour.replace('\x1b', '\u0001'))
    .replace(/\x1b\][^\x07\x1b]*(\x07|\x1b\\)?/g, '')
    .replace(/\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])?/g, '')
    .replace(/[\u0000\u0002-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c]/g, '')
    .replaceAll('\u0001', '\x1b')
    .replaceAll('\t', '  ')
    .toWellFormed()
}

function onOneLine(text: string): string {
  const [first = '', ...others] = text.split('\n')
  return [first.trimEnd(), ...others.map((line) => line.trim())].join(' ')
}

/** A line of a step: `-----> Installing  npm ci (cache hit)                          0.4 s`. */
export function stepLine(name: string, detail: string, durationMs: number | null): string {
  const head = `-----> ${name.padEnd(11)} ${detail}`
  return durationMs === null ? head : `${head.padEnd(63)} ${formatSeconds(durationMs)}`
}

function endLine(text: string, durationMs: number): string {
  return `       ${text.padEnd(56)} ${formatSeconds(durationMs)}`
}

export function formatSeconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`
}

type Step = { name: string; detail: string; startedAt: number; shown: string | null; hasSpoken: boolean; gap: boolean }

/**
 * Writes a deployment's log: steps with durations and the output below them, batched (at most every 100 ms). A step that takes long or
 * says something shows its head when it starts; a short silent one is a single line with its duration.
 */
export class StepLog {
  readonly #append: (lines: string[]) => Promise<void>
  readonly #onError: (error: unknown) => void
  #pending: string[] = []
  #step: Step | null = null
  #headTimer: NodeJS.Timeout | null = null
  #flushTimer: NodeJS.Timeout | null = null
  #flushing: Promise<void> = Promise.resolve()

  constructor(append: (lines: string[]) => Promise<void>, { onError }: { onError: (error: unknown) => void }) {
    this.#append = append
    this.#onError = onError
  }

  /** A line outside any step, or a heading. */
  line(text: string): void {
    this.#write(text)
  }

  /**
   * Runs a step. `detail` may be changed while it runs, to what came of it, and is shown with the duration at the end; below a head that
   * said the same already, the word is `done`. A step that fails below its head is not done: what follows says so. `onlyIfLong`: a step
   * that is over within a second leaves no line.
   */
  async step<T>(
    name: string,
    detail: string,
    run: (step: { detail(text: string): void; output(text: string): void }) => Promise<T>,
    { onlyIfLong = false }: { onlyIfLong?: boolean } = {},
  ): Promise<T> {
    const step: Step = { name, detail, startedAt: performance.now(), shown: null, hasSpoken: false, gap: false }
    this.#step = step
    this.#headTimer = setTimeout(() => this.#showHead(step), 1000)
    const showDetail = (text: string) => {
      step.detail = text
    }
    let isDone = false
    try {
      const result = await run({ detail: showDetail, output: (text) => this.output(text) })
      isDone = true
      return result
    } finally {
      clearTimeout(this.#headTimer)
      const took = performance.now() - step.startedAt
      if (step.shown === null && !onlyIfLong) this.#write(stepLine(step.name, step.detail, took))
      if (step.shown !== null && isDone) this.#write(endLine(step.detail === step.shown ? 'done' : step.detail, took))
      this.#step = null
    }
  }

  /** A line of a program's output, below its step. Of blank lines, one is left between two that say something. */
  output(text: string): void {
    const step = this.#step
    if (step && text.trim() === '') {
      step.gap = step.hasSpoken
      return
    }
    if (step) this.#showHead(step)
    if (step?.gap) this.#write('')
    this.#write(`       ${text}`)
    if (step) Object.assign(step, { gap: false, hasSpoken: true })
  }

  async flush(): Promise<void> {
    if (this.#flushTimer) clearTimeout(this.#flushTimer)
    this.#flushTimer = null
    const lines = this.#pending
    this.#pending = []
    if (lines.length > 0) {
      this.#flushing = this.#flushing
        .then(() => this.#append(lines))
        .catch((thrown: unknown) => this.#onError(new Error(`log lines lost: ${messageOf(thrown)}`, { cause: thrown })))
    }
    await this.#flushing
  }

  #showHead(step: Step): void {
    if (step.shown !== null) return
    step.shown = step.detail
    this.#write(stepLine(step.name, step.detail, null))
  }

  #write(text: string): void {
    this.#pending.push(text)
    this.#flushTimer ??= setTimeout(() => void this.flush(), 50)
  }
}
