import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../registry/errors.ts'
import { LatencyHistogram } from '../registry/latency-histogram.ts'
import type { Log } from '../registry/log.ts'
import { type RolloutReport, type RouteBin, reportRollout } from '../registry/rollout-reports.ts'
import { reportBins } from '../registry/route-bins.ts'
import type { Sql } from '../registry/sql.ts'
import { TakenReports } from '../registry/taken-reports.ts'
import { binMs } from './edge/counting/bins.ts'
import type { SentBin, SentReport, ToEdge } from './edge-messages.ts'

type WaitingBin = { bin: SentBin; beganAt: number }
type Waiting = { report: SentReport; reply: (message: ToEdge) => void }

// A registry that is away gets what it missed of the last minutes; of reports, which are cumulative, the newest is enough.
const mostBins = 5_000
const mostLogged = 1_000
const endTimeoutMs = 1_000

/**
 * What the edge processes of this proxy count, on its way to the registry: one statement at a time, and what comes meanwhile goes with the next. All
 * of it may fail; the next report says it again.
 */
export class TrafficReports {
  readonly #sql: Sql
  readonly #edgeId: string
  readonly #log: Log
  readonly #reports = new Map<string, Waiting>()
  #bins: WaitingBin[] = []
  #sending: Promise<void> | null = null
  readonly #logged = new Set<string>()
  readonly #taken = new TakenReports()

  constructor({ sql, edgeId, log }: { sql: Sql; edgeId: string; log: Log }) {
    this.#sql = sql
    this.#edgeId = edgeId
    this.#log = log
  }

  /** Of one process. `reply` goes back to it. */
  takeReports(reports: SentReport[], reply: (message: ToEdge) => void): void {
    for (const report of reports) this.#reports.set(`${report.bootId} ${report.rolloutId}`, { report, reply })
    this.#sendSoon()
  }

  takeBins(bins: SentBin[]): void {
    // They are over at this moment; by no clock that somebody sets.
    const beganAt = performance.now() - binMs
    this.#bins = [...this.#bins, ...bins.map((bin) => ({ bin, beganAt }))].slice(-mostBins)
    this.#sendSoon()
  }

  /** Waits for what is on its way, if the registry answers. */
  async close(): Promise<void> {
    await Promise.race([this.#sending, pause(endTimeoutMs, null, { ref: false })])
  }

  #sendSoon(): void {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = null
    })
  }

  async #sendAll(): Promise<void> {
    while (this.#reports.size > 0 || this.#bins.length > 0) {
      const waiting = [...this.#reports.values()]
      const bins = this.#bins
      this.#reports.clear()
      this.#bins = []
      try {
        if (waiting.length > 0) await this.#sendReports(waiting)
        if (bins.length > 0) await this.#sendBins(bins)
      } catch (thrown) {
        // The line to the registry says that it is away.
        this.#log.debug({ reason: messageOf(thrown) }, 'counts not reported')
        this.#bins = [...bins, ...this.#bins].slice(-mostBins)
        return
      }
    }
  }

  async #sendReports(waiting: Waiting[]): Promise<void> {
    const reports = waiting.map(({ report }) => readReport(report))
    const refused = await reportRollout(this.#sql, this.#edgeId, reports, this.#taken)
    const isRefused = new Set(refused.map(({ rolloutId, bootId }) => `${bootId} ${rolloutId}`))
    for (const { rolloutId, reason } of refused) this.#logOnce({ rollout: rolloutId }, reason)
    for (const { report, reply } of waiting) {
      const { bootId, rolloutId, seq } = report
      if (!isRefused.has(`${bootId} ${rolloutId}`)) reply({ type: 'reported', rolloutId, seq })
    }
  }

  async #sendBins(bins: WaitingBin[]): Promise<void> {
    const refused = await reportBins(this.#sql, this.#edgeId, bins.map(readBin))
    for (const { routeId, reason } of refused) this.#logOnce({ route: routeId }, reason)
  }

  // What is refused once is refused every 2 s.
  #logOnce(about: { rollout: string } | { route: string }, reason: string): void {
    const key = `${JSON.stringify(about)} ${reason}`
    if (this.#logged.has(key) || this.#logged.size >= mostLogged) return
    this.#logged.add(key)
    this.#log.warn({ ...about, reason }, 'the registry refuses what was counted')
  }
}

function readReport({ segments, ...rest }: SentReport): RolloutReport {
  return { ...rest, segments: segments.map((one) => ({ ...one, latency: LatencyHistogram.parse(one.latency) })) }
}

function readBin({ bin: { latency, ...rest }, beganAt }: WaitingBin): RouteBin {
  return { ...rest, beganAt, latency: LatencyHistogram.parse(latency) }
}
