import { setTimeout as pause } from 'node:timers/promises'
import { type AppLogStream, appendAppLog, type NewAppLogLine } from '../../registry/app-logs.ts'
import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { isUnreachable, type Sql } from '../../registry/sql.ts'
import type { DeploymentRef } from '../edge/deployment.ts'
import { LogAllowance } from './log-allowance.ts'

const flushAfterMs = 200
const retryAfterMs = 2_000
const batchLines = 500
const closeTimeoutMs = 1_000
const maxLines = 5_000
const maxLineLength = 4_000

/**
 * Carries what apps write to the registry, in batches, and of an app that writes without end a bounded share. While Postgres is away lines wait, up to 5,000 in all; what does not fit is
 * dropped, oldest first, counted per app, and said in that app's log.
 */
export class AppLogShipper {
  readonly #sql: Sql
  readonly #log: Log
  #lines: NewAppLogLine[] = []
  readonly #allowance = new LogAllowance()
  #dropped = new Map<string, { first: NewAppLogLine; count: number }>()
  #timer: NodeJS.Timeout | null = null
  #shipping: Promise<void> | null = null
  #isClosed = false

  constructor(sql: Sql, { log }: { log: Log }) {
    this.#sql = sql
    this.#log = log
  }

  add(
    { appId, id, version }: Pick<DeploymentRef, 'appId' | 'id' | 'version'>,
    stream: AppLogStream,
    text: string,
  ): void {
    const line = { appId, deploymentId: id, version, at: new Date(), stream, text: text.slice(0, maxLineLength) }
    // What the platform says of an app is always kept.
    if (stream === 'platform' || this.#allowance.take(appId, Buffer.byteLength(line.text))) this.#lines.push(line)
    else this.#count(line, 1)
    // Dropping in blocks: shifting a full array for every line of a chatty app would cost more than the lines.
    if (this.#lines.length > maxLines) this.#drop(this.#lines.splice(0, maxLines / 10))
    this.#schedule(flushAfterMs)
  }

  /** Ships what is left, if Postgres takes it within a second. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#timer) clearTimeout(this.#timer)
    const shipping = (this.#shipping ?? Promise.resolve()).then(() => this.#shipAll())
    await Promise.race([shipping, pause(closeTimeoutMs)])
  }

  #schedule(afterMs: number): void {
    if (this.#isClosed || this.#shipping) return
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.#shipping = this.#shipAll()
    }, afterMs)
  }

  async #shipAll(): Promise<void> {
    let isShipped = true
    while (isShipped && this.#lines.length > 0) isShipped = await this.#ship()
    this.#shipping = null
    if (!isShipped) this.#schedule(retryAfterMs)
  }

  // False: what could not be written waits, or is counted as dropped.
  async #ship(): Promise<boolean> {
    const batch = this.#lines.splice(0, batchLines)
    const dropped = this.#dropped
    this.#dropped = new Map()
    const notices = [...dropped.values()].map(({ first, count }) => droppedNotice(first, count))
    if (batch.length + notices.length === 0) return true
    try {
      await appendAppLog(this.#sql, [...notices, ...batch])
      return true
    } catch (thrown) {
      for (const { first, count } of dropped.values()) this.#count(first, count)
      if (isUnreachable(thrown)) this.#lines = [...batch, ...this.#lines]
      else this.#drop(batch)
      this.#log.warn({ reason: messageOf(thrown), lines: batch.length }, 'app log lines not shipped')
      return false
    }
  }

  #drop(lines: NewAppLogLine[]): void {
    for (const line of lines) this.#count(line, 1)
  }

  #count(first: NewAppLogLine, count: number): void {
    const before = this.#dropped.get(first.appId)
    this.#dropped.set(first.appId, { first: before?.first ?? first, count: count + (before?.count ?? 0) })
  }
}

function droppedNotice(first: NewAppLogLine, count: number): NewAppLogLine {
  return {
    ...first,
    stream: 'platform',
    text: `${count} lines were dropped: the app writes faster than its log is kept, or the log could not be written`,
  }
}
