import { LatencyHistogram } from '../../../registry/latency-histogram.ts'
import type { Arm, ReportedCounts } from '../../../registry/rollout-reports.ts'
import type { SentReport } from '../../edge-messages.ts'

/** What one arm had in one segment, as this process counted it. Only ever grows. */
export class SegmentCounts {
  readonly segment: number
  readonly arm: Arm
  readonly counts: ReportedCounts = {
    requests: 0,
    tosses: 0,
    errorRequests: 0,
    errorUnits: 0,
    timedRequests: 0,
    slowUnits: 0,
    tooSlowRequests: 0,
    refusedRequests: 0,
  }
  /** Number of the first report that has all of it; null: none has yet. */
  toldIn: number | 'acknowledged' | null = null
  readonly #latency = new LatencyHistogram()

  constructor(segment: number, arm: Arm) {
    this.segment = segment
    this.arm = arm
  }

  count(what: keyof ReportedCounts): void {
    this.counts[what]++
    this.toldIn = null
  }

  took(ms: number): void {
    this.#latency.add(ms)
    this.toldIn = null
  }

  tell(seq: number): SentReport['segments'][number] {
    this.toldIn ??= seq
    const { segment, arm, counts } = this
    return { segment, arm, counts, latency: this.#latency.toText() }
  }

  acknowledge(seq: number): void {
    if (typeof this.toldIn === 'number' && this.toldIn <= seq) this.toldIn = 'acknowledged'
  }
}
