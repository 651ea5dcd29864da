import type { RoutedRollout } from '../../../registry/rollout.ts'
import type { Arm, ReportedUnit } from '../../../registry/rollout-reports.ts'
import { Places } from '../../../sandbox/isolate/isolate-places.ts'
import type { SentReport } from '../../edge-messages.ts'
import { BadUnits } from './bad-units.ts'
import { CountedVisit, type VisitStart } from './counted-visit.ts'
import { FailingPaths } from './failing-paths.ts'
import { Fuse, type FuseWord } from './fuse.ts'
import { KnownPaths } from './known-paths.ts'
import { SegmentCounts } from './segment-counts.ts'

/** A request as the toss has it. `chosen`: id of the deployment of its arm. */
export type Tossed = Pick<VisitStart, 'unit' | 'isKnown' | 'target' | 'startedAt'> & { chosen: string }

const unitsOf = { errors: 'errorUnits', latency: 'slowUnits' } as const

/** Everything this process has counted of one rollout, since its boot. Times as performance.now(). */
export class RolloutTally {
  readonly id: string
  readonly fuse: Fuse
  readonly failing = { candidate: new FailingPaths('candidate'), baseline: new FailingPaths('baseline') }
  /** Whose answers are for the cache: they are left out of latency. */
  readonly cacheable = new KnownPaths()
  /** The candidate has failed anew: a report should not wait. */
  isUrgent = false
  readonly #units = { errors: new BadUnits('errors'), latency: new BadUnits('latency') }
  readonly #segments = new Map<string, SegmentCounts>()
  readonly #waiting = new Places<CountedVisit>()
  #rollout: RoutedRollout
  #stageSince: number
  #seq = 0

  /** `tell`: to the other edge processes of this proxy. */
  constructor(rollout: RoutedRollout, now: number, tell: (word: FuseWord) => void = () => undefined) {
    this.id = rollout.id
    this.fuse = new Fuse(tell)
    this.#rollout = rollout
    this.#stageSince = now
  }

  /** Counts by this segment from now on. */
  follow(rollout: RoutedRollout, now: number): void {
    if (rollout.stage !== this.#rollout.stage) this.#stageSince = now
    this.#rollout = rollout
  }

  /** Null: it goes to neither arm. */
  begin({ chosen, ...tossed }: Tossed): CountedVisit | null {
    const { from, to, slowMs, tooSlowMs, warmupSec } = this.#rollout
    if (chosen !== from && chosen !== to) return null
    const segment = this.#segment(chosen === to ? 'candidate' : 'baseline')
    const isWarm = tossed.startedAt - this.#stageSince >= warmupSec * 1000
    const limits = isWarm && slowMs !== null ? { slowMs, tooSlowMs: tooSlowMs ?? slowMs } : null
    return new CountedVisit(this, { ...tossed, segment, isWarm, limits })
  }

  /** The app is asked: from now on the clock decides whether it is slow. */
  await(visit: CountedVisit): void {
    visit.place ??= this.#waiting.take(visit)
  }

  forget(visit: CountedVisit): void {
    if (visit.place === null) return
    this.#waiting.leave(visit.place)
    visit.place = null
  }

  look(now: number): void {
    for (const visit of this.#waiting) visit.look(now)
  }

  /** `unit` null: of somebody who cannot come back. Above the cap neither arm is counted. */
  markBad(metric: ReportedUnit['metric'], unit: string | null, segment: SegmentCounts): void {
    const units = this.#units[metric]
    if (units.isFull) return
    if (unit === null) segment.count(unitsOf[metric])
    else units.add(unit, segment.segment, segment.arm)
  }

  /** What is to be told: segments that changed since they were last acknowledged, and the one in force. */
  report(bootId: string): SentReport {
    this.isUrgent = false
    const seq = ++this.#seq
    this.#segment('candidate')
    this.#segment('baseline')
    const units = [...this.#units.errors.take(seq), ...this.#units.latency.take(seq)]
    const all = [...this.#segments.values()]
    const changed = all.filter(({ toldIn }) => toldIn !== 'acknowledged')
    // Always both arms: a row of the registry's has both, and one that is not told of would have fallen to nothing.
    const told = new Set([this.#rollout.segment, ...[...changed, ...units].map(({ segment }) => segment)])
    const segments = all.filter(({ segment }) => told.has(segment))
    return {
      ...{ rolloutId: this.id, bootId, seq, units },
      segments: segments.map((counts) => counts.tell(seq)),
      failingPaths: [...this.failing.candidate.worst(), ...this.failing.baseline.worst()],
    }
  }

  /** The registry has taken the report of this number in. */
  acknowledge(seq: number): void {
    for (const segment of this.#segments.values()) segment.acknowledge(seq)
    this.#units.errors.acknowledge(seq)
    this.#units.latency.acknowledge(seq)
  }

  #segment(arm: Arm): SegmentCounts {
    const key = `${this.#rollout.segment} ${arm}`
    const known = this.#segments.get(key)
    if (known) return known
    const counts = new SegmentCounts(this.#rollout.segment, arm)
    this.#segments.set(key, counts)
    return counts
  }
}
