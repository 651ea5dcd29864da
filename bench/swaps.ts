import { availableParallelism } from 'node:os'
import { createDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { swapUnderLoad } from '../test/support/swaps.ts'
import { percentile, type Row } from './measure.ts'
import { settings } from './settings.ts'

/** F10: new versions put before their users under a steady mixed load, and what it lost. */
export async function measureSwaps(): Promise<Row[]> {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: availableParallelism() })
  const { load, live, latencies } = await swapUnderLoad(edge, 'swapped', { count: settings.flips, sickEvery: 50 })
  for (const failure of load.failures) console.log(`  lost: ${failure}`)
  const { requests, messages, streams, uploads, socketsTold } = load.done
  const what = `${live.length - 1} flips under load, lost of ${requests} requests, ${streams} streams, ${uploads} uploads, ${messages} messages`
  return [
    { what, values: [load.failures.length], unit: 'requests', target: '0' },
    { what: '  … WebSockets closed with 1012 at the end of their version', values: [socketsTold], unit: 'sockets' },
    {
      what: '  … p99 of its 500 requests a second, flipping',
      values: [percentile(latencies.during, 99)],
      unit: 'ms',
      target: '≤ 2 × before',
      rival: { what: 'before the first flip', values: [percentile(latencies.before, 99)] },
    },
  ]
}
