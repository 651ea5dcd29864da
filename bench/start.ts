import { Platform } from '../test/support/platform.ts'
import { type Row, repeat, seconds } from './measure.ts'

/** From the command to the ready block: in an empty home, and again in the same one. */
export async function measureStart(): Promise<Row[]> {
  const first: number[] = []
  const later: number[] = []
  await repeat(3, async () => {
    await using platform = await Platform.prepare()
    for (const values of [first, later, later]) {
      values.push(await seconds(() => platform.start()))
      await platform.stop()
    }
  })
  return [
    { what: 'start, first', values: first, unit: 's', target: '≤ 5 s' },
    { what: 'start, later', values: later, unit: 's', target: '≤ 2 s' },
  ]
}
