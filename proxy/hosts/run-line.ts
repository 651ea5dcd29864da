import { setTimeout as pause } from 'node:timers/promises'
import { countOutput, type OutputChunk, putOutput, takeInput } from '../../registry/app-run-chunks.ts'
import { keepRun, type RunEnd } from '../../registry/app-runs.ts'
import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { channels } from '../../registry/routes.ts'
import type { Key } from '../../registry/secrets.ts'
import { isUnreachable, type Sql } from '../../registry/sql.ts'
import { Wakeup } from '../../registry/wakeup.ts'
import type { Exit, Launched } from '../../sandbox/launch.ts'

export type RunLineDeps = { sql: Sql; key: Key; edgeId: string; log: Log; stopping: AbortSignal }

const keepEveryMs = 3000
const graceMs = 5000
const largestChunk = 262_144
/** Waiting in memory before the program has to wait, and chunks in Postgres that nobody has taken. */
const mostHeldBytes = 524_288
const mostUntaken = 8
const lookAgainMs = 1000
const awayMs = 30_000

/**
 * One running command's line to whoever asked for it, over Postgres: its output goes, its input and the order to end come. A reader who is slow slows the
 * program down, and one who is gone ends it.
 */
export class RunLine {
  readonly #run: string
  readonly #deps: RunLineDeps
  readonly #orders: Wakeup
  readonly #taken: Wakeup
  readonly #ending = new AbortController()
  readonly #over = new AbortController()
  readonly #tasks: Promise<void>[] = []
  #waiting: OutputChunk[] = []
  #waitingBytes = 0
  #seq = 0
  #shipping: Promise<void> | null = null
  #isStopped = false

  static async open(run: string, deps: RunLineDeps): Promise<RunLine> {
    const orders = await Wakeup.on(deps.sql, [channels.appRuns], (payload) => /:(end|input)$/.test(ofRun(payload, run)))
    const taken = await Wakeup.on(deps.sql, [channels.appRuns], (payload) => ofRun(payload, run) === ':taken')
    return new RunLine(run, deps, { orders, taken })
  }

  private constructor(run: string, deps: RunLineDeps, { orders, taken }: { orders: Wakeup; taken: Wakeup }) {
    this.#run = run
    this.#deps = deps
    this.#orders = orders
    this.#taken = taken
    deps.stopping.addEventListener('abort', () => this.#end(), { once: true })
    if (deps.stopping.aborted) this.#end()
  }

  /** Aborted when nothing of it is to go on. */
  get signal(): AbortSignal {
    return this.#ending.signal
  }

  /** The program runs: from now on what comes in goes to it, and it can be told to end. */
  carry(launched: Launched): void {
    void launched.exited.then(() => this.#over.abort())
    this.#tasks.push(this.#listen(launched))
  }

  /** Takes a piece of output; the promise, if there is one, is for the program to wait. */
  write(stream: 'stdout' | 'stderr', data: Buffer): Promise<void> | undefined {
    const last = this.#waiting.at(-1)
    if (last && last.stream === stream && last.data.length + data.length <= largestChunk)
      last.data = Buffer.concat([last.data, data])
    else this.#waiting.push({ stream, data })
    this.#waitingBytes += data.length
    this.#shipping ??= this.#ship()
    return this.#waitingBytes > mostHeldBytes ? this.#shipping : undefined
  }

  /** Resolves when all output has been laid down for the reader. */
  async flush(): Promise<void> {
    await this.#shipping
  }

  /** How it ended, for the record. */
  endOf({ code, signal, cause }: Exit): RunEnd {
    if (this.#deps.stopping.aborted)
      return { cause: 'lost', errorCode: 'RUN_LOST', reason: 'the platform was stopped on the machine that ran it' }
    if (cause === 'timeout') return { cause, exitCode: null, signal: null }
    return { cause: this.#isStopped && cause === 'exit' ? 'stopped' : cause, exitCode: code, signal }
  }

  async close(): Promise<void> {
    this.#over.abort()
    this.#end()
    await Promise.all(this.#tasks)
    await Promise.all([this.#orders.close(), this.#taken.close()])
  }

  #end(): void {
    this.#ending.abort(new Error('ended'))
  }

  async #listen(launched: Launched): Promise<void> {
    const { log } = this.#deps
    let heardAt = performance.now()
    while (!this.#over.signal.aborted) {
      try {
        await this.#obey(launched)
        await this.#feed(launched)
        heardAt = performance.now()
      } catch (thrown) {
        log.debug({ run: this.#run, reason: messageOf(thrown) }, 'line of a command is down')
        if (performance.now() - heardAt > awayMs) this.#end()
        await pause(lookAgainMs)
      }
      await this.#orders.next({ timeoutMs: keepEveryMs, signal: this.#over.signal })
    }
  }

  async #obey(launched: Launched): Promise<void> {
    const kept = await keepRun(this.#deps.sql, this.#run, this.#deps.edgeId)
    if (kept === 'gone') return this.#end()
    if (kept.order === 'KILL') {
      this.#isStopped = true
      void launched.stop(0)
    } else if (kept.order === 'TERM' && !this.#isStopped) {
      this.#isStopped = true
      void launched.stop(graceMs)
    }
  }

  // A program that reads slowly has the writer wait; one that reads no more loses what comes.
  async #feed({ input }: Launched): Promise<void> {
    if (!input || input.writableNeedDrain) return void input?.once('drain', () => this.#orders.wake())
    for (const { data, isLast } of await takeInput(this.#deps.sql, { run: this.#run, key: this.#deps.key })) {
      if (input.destroyed || input.writableEnded) continue
      if (data.length > 0) input.write(data)
      if (isLast) input.end()
    }
    if (input.writableNeedDrain) input.once('drain', () => this.#orders.wake())
  }

  async #ship(): Promise<void> {
    while (this.#waiting.length > 0) {
      const chunks = this.#waiting.splice(0)
      this.#waitingBytes = 0
      await this.#put(chunks)
    }
    this.#shipping = null
  }

  async #put(chunks: OutputChunk[]): Promise<void> {
    const { sql, key } = this.#deps
    const seq = this.#seq
    this.#seq += chunks.length
    for (const startedAt = performance.now(); !this.#isCut(); ) {
      try {
        let untaken = await putOutput(sql, { run: this.#run, key }, seq, chunks)
        while (untaken > mostUntaken && !this.#isCut()) {
          await this.#taken.next({ timeoutMs: lookAgainMs, signal: this.#ending.signal })
          untaken = await countOutput(sql, this.#run)
        }
        return
      } catch (thrown) {
        // An app that is gone has no commands, and what they write is nobody's.
        if (!isUnreachable(thrown) || performance.now() - startedAt > awayMs) return this.#end()
        await pause(lookAgainMs)
      }
    }
  }

  #isCut(): boolean {
    return this.#ending.signal.aborted
  }
}

function ofRun(payload: string, run: string): string {
  return payload.startsWith(run) ? payload.slice(run.length) : ''
}
