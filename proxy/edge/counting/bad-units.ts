import type { Arm, ReportedUnit } from '../../../registry/rollout-reports.ts'

type Told = ReportedUnit & { seq: number }

export const mostUnits = 50_000
// The rest goes with the next report.
const mostAtOnce = 5_000

/**
 * Units that were bad by one metric, each once in a rollout, and those of them that the registry has not got yet. Of more than 50,000 none is counted
 * any more, of neither arm: the comparison stays fair.
 */
export class BadUnits {
  readonly #metric: ReportedUnit['metric']
  readonly #seen = new Set<string>()
  #untold: Told[] = []

  constructor(metric: ReportedUnit['metric']) {
    this.#metric = metric
  }

  get isFull(): boolean {
    return this.#seen.size >= mostUnits
  }

  /** Not when it is full. `unit`: 16 hexadecimal digits. */
  add(unit: string, segment: number, arm: Arm): void {
    if (this.#seen.has(unit)) return
    this.#seen.add(unit)
    this.#untold.push({ metric: this.#metric, unit, segment, arm, seq: 0 })
  }

  /** Those to be told in the report of this number. */
  take(seq: number): ReportedUnit[] {
    return this.#untold.slice(0, mostAtOnce).map((told) => {
      if (told.seq === 0) told.seq = seq
      return { metric: told.metric, unit: told.unit, segment: told.segment, arm: told.arm }
    })
  }

  /** The registry has got what was in reports up to this number. */
  acknowledge(seq: number): void {
    this.#untold = this.#untold.filter((told) => told.seq === 0 || told.seq > seq)
  }
}
