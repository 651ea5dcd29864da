export type Unit = 's' | 'ms' | 'µs' | 'MB' | 'MB/s' | 'req/s' | 'requests' | 'sockets' | 'processes'

export type Row = {
  what: string
  /** Raw values in `unit`, in the order they were measured. */
  values: number[]
  unit: Unit
  /** The one number that counts; the median when left out. */
  percentile?: number
  target?: string
  /** Why it could not be measured. */
  missing?: string
  /** `missing`: why it could not be measured on this machine. */
  rival?: { what: string; values: number[] } | { what: string; missing: string }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = Number.NaN, high = Number.NaN] = [sorted[(sorted.length - 1) >> 1], sorted[middle]]
  return (low + high) / 2
}

/** The smallest value that `percent` of all values do not exceed (nearest rank). */
export function percentile(values: number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN
}

/** Seconds that `task` took. */
export async function seconds(task: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await task()
  return (performance.now() - startedAt) / 1000
}

/** `task` run `times` times, one after the other. */
export async function repeat<T>(times: number, task: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let index = 0; index < times; index++) results.push(await task(index))
  return results
}

/** One line a measurement: the number that counts, every raw value, the target, and the rival's number and raw values with the ratio. */
export function format(row: Row): string {
  const { what, values, unit, target, missing, rival } = row
  if (missing !== undefined) return `${what.padEnd(52)} not measured: ${missing}`
  const parts = [`${what.padEnd(52)} ${shown([numberOf(row, values)], unit)} ${unit}  ${rawOf(values, unit)}`]
  if (target) parts.push(`target ${target}`)
  if (rival && 'missing' in rival) parts.push(`${rival.what} not measured: ${rival.missing}`)
  else if (rival) {
    const ratio = numberOf(row, values) / numberOf(row, rival.values)
    const number = shown([numberOf(row, rival.values)], unit)
    parts.push(`${rival.what} ${number} ${unit} ${rawOf(rival.values, unit)}, ratio ${ratio.toFixed(2)}`)
  }
  return parts.join(' · ')
}

function numberOf({ percentile: percent }: Row, values: number[]): number {
  return percent === undefined ? median(values) : percentile(values, percent)
}

// A hundred flips fill no line: of so many, in order of size, the first and last and what lies between by tenths.
function rawOf(values: number[], unit: Unit): string {
  if (values.length <= 30) return `[${shown(values, unit)}]`
  const tenths = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99, 100].map((percent) => percentile(values, percent))
  return `[${values.length} values; least, tenths, p99, most: ${shown(tenths, unit)}]`
}

function shown(numbers: number[], unit: Unit): string {
  const digits = unit === 's' ? 2 : unit === 'ms' ? 1 : 0
  return numbers.map((value) => value.toFixed(value >= 100 ? 0 : digits)).join(' ')
}
