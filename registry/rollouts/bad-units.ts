import type { Segment } from './segments.ts'

/** A unit that an edge saw be bad (failed, or slow) for the first time in the rollout. `unit` is the hash of a visitor. */
export type BadUnit = { unit: string; segment: number; arm: 'candidate' | 'baseline' }

/**
 * The union over the edges: a visitor who breaks behind three edges, a hundred times on each, is one bad unit, in the earliest segment anybody
 * saw it in. Reports may be doubled or come in any order.
 */
export function uniteBadUnits(reports: Iterable<Iterable<BadUnit>>): Map<string, BadUnit> {
  const first = new Map<string, BadUnit>()
  for (const report of reports) {
    for (const seen of report) {
      const known = first.get(seen.unit)
      if (!known || isBefore(seen, known)) first.set(seen.unit, seen)
    }
  }
  return first
}

/** Bad units per arm of the segment with this index. */
export function countBadUnits(units: Iterable<BadUnit>, segment: number): { candidate: number; baseline: number } {
  const counts = { candidate: 0, baseline: 0 }
  for (const unit of units) if (unit.segment === segment) counts[unit.arm] += 1
  return counts
}

/** The segments with the units' numbers of one metric filled in. */
export function withBadUnits(
  segments: readonly Segment[],
  metric: 'errorUnits' | 'slowUnits',
  units: Map<string, BadUnit>,
): Segment[] {
  return segments.map((segment, index) => {
    const counts = countBadUnits(units.values(), index)
    return {
      ...segment,
      candidate: { ...segment.candidate, [metric]: segment.candidate[metric] + counts.candidate },
      baseline: { ...segment.baseline, [metric]: segment.baseline[metric] + counts.baseline },
    }
  })
}

// A unit has one arm per stage; should two reports of one segment differ, the order they came in must not matter.
function isBefore(one: BadUnit, other: BadUnit): boolean {
  return one.segment < other.segment || (one.segment === other.segment && one.arm < other.arm)
}
