export type Row = {
  what: string
  /** Raw values in `unit`, in the order they were measured. */
  values: number[]
  unit: 's' | 'ms' | 'MB' | 'MB/s' | 'req/s' | 'requests'
  target?: string
  rival?: { what: string; values: number[] }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = Number.NaN, high = Number.NaN] = [sorted[(sorted.length - 1) >> 1], sorted[middle]]
  return (low + high) / 2
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

/** One line a measurement: median, every raw value, the target, and the rival's median and raw values with the ratio. */
export function format({ what, values, unit, target, rival }: Row): string {
  const shown = (numbers: number[]) => numbers.map((value) => value.toFixed(unit === 's' ? 2 : 0)).join(' ')
  const parts = [`${what.padEnd(52)} ${shown([median(values)])} ${unit}  [${shown(values)}]`]
  if (target) parts.push(`target ${target}`)
  if (rival) {
    const ratio = median(values) / median(rival.values)
    parts.push(
      `${rival.what} ${shown([median(rival.values)])} ${unit} [${shown(rival.values)}], ratio ${ratio.toFixed(2)}`,
    )
  }
  return parts.join(' · ')
}
