import type { Db } from './sql.ts'

/** One process about one rollout: in each segment both arms' counts, in the order of `countNames` in rollout-reports.ts. */
export type Told = ProcessName & { seq: number; segments: Map<number, ArmCounts> }
export type ArmCounts = { candidate: readonly number[]; baseline: readonly number[] }
export type ProcessName = { rolloutId: string; bootId: string }

type Kept = ProcessName & { seq: number; segment: number; candidate: number[]; baseline: number[] }

// Rollouts that have ended are not told of any more; what is forgotten is read again.
const mostKnown = 5_000

/**
 * What was taken in last of each process of one proxy. It is read from the registry once, for nobody else writes it, and reports are compared with it
 * here: the database takes as long for that as for the writing.
 */
export class TakenReports {
  readonly #known = new Map<string, Told>()

  /** Reads what is not known yet of these processes. */
  async read(sql: Db, edgeId: string, processes: readonly ProcessName[]): Promise<void> {
    if (this.#known.size + processes.length > mostKnown) this.#known.clear()
    const unknown = processes.filter((process) => !this.#known.has(keyOf(process)))
    if (unknown.length === 0) return
    const rows = await sql<Kept[]>`
      select k.rollout_id, k.boot_id, k.seq, k.segment, to_jsonb(k.candidate) as candidate, to_jsonb(k.baseline) as baseline
      from unnest(
        ${unknown.map(({ rolloutId }) => rolloutId)}::text[], ${unknown.map(({ bootId }) => bootId)}::text[]
      ) as asked (rollout_id, boot_id)
      join rollout_reports k using (rollout_id, boot_id)
      where k.edge_id = ${edgeId}
    `
    for (const { rolloutId, bootId } of unknown) this.take({ rolloutId, bootId, seq: 0, segments: new Map() })
    for (const row of rows) {
      const known = this.#knownOf(row)
      known.seq = Math.max(known.seq, row.seq)
      known.segments.set(row.segment, row)
    }
  }

  /** It was sent before one that has been taken in, or is that one. */
  isLate(told: Told): boolean {
    return told.seq <= this.#knownOf(told).seq
  }

  hasFallen(told: Told): boolean {
    const { segments } = this.#knownOf(told)
    return [...told.segments].some(([segment, counts]) => isAny(counts, segments.get(segment), (now, was) => now < was))
  }

  /** Segments in which something was counted since. */
  changed(told: Told): number[] {
    const { segments } = this.#knownOf(told)
    const isChanged = ([segment, counts]: [number, ArmCounts]) =>
      !segments.has(segment) || isAny(counts, segments.get(segment), (now, was) => now !== was)
    return [...told.segments].filter(isChanged).map(([segment]) => segment)
  }

  /** Whether the new version's count of this place, in any segment, is more than it was. */
  hasRisen(told: Told, place: number): boolean {
    const { segments } = this.#knownOf(told)
    return [...told.segments].some(
      ([segment, { candidate }]) => (candidate[place] ?? 0) > (segments.get(segment)?.candidate[place] ?? 0),
    )
  }

  take(told: Told): void {
    const { rolloutId, bootId, seq } = told
    const segments = new Map([...(this.#known.get(keyOf(told))?.segments ?? []), ...told.segments])
    this.#known.set(keyOf(told), { rolloutId, bootId, seq, segments })
  }

  /** The registry is asked once more. */
  forget(process: ProcessName): void {
    this.#known.delete(keyOf(process))
  }

  #knownOf(process: ProcessName): Told {
    const known = this.#known.get(keyOf(process))
    if (!known) throw new Error(`what was taken of ${keyOf(process)} has not been read`)
    return known
  }
}

export const keyOf = ({ rolloutId, bootId }: ProcessName) => `${rolloutId} ${bootId}`

function isAny(now: ArmCounts, was: ArmCounts | undefined, compare: (now: number, was: number) => boolean): boolean {
  const differ = (arm: keyof ArmCounts) => now[arm].some((count, index) => compare(count, was?.[arm][index] ?? 0))
  return differ('candidate') || differ('baseline')
}
