import type { Atelier } from '../test/support/atelier.ts'
import { closeAll, deployed } from './compare.ts'
import { fetchApp } from './edge.ts'
import { byTurns, requestsPerSecond, type Target } from './load.ts'
import type { Row } from './measure.ts'
import { type PacedResult, pacedLatency } from './paced-load.ts'
import { nginxBefore } from './rivals/nginx.ts'
import { jsonServer } from './rivals/node.ts'
import { settings } from './settings.ts'

const rivalName = 'nginx → Node'

/** The JSON handler at a constant rate: half of what the slower of the two sides can do at most, the same for both. */
export async function measureLatency(atelier: Atelier): Promise<Row[]> {
  const ours = await deployed(atelier, 'edge-latency', fetchApp)
  const what = 'p99 at half of saturation'
  const rival = await nginxBefore(rivalName, await atelier.directory(), await jsonServer(await atelier.directory()))
  if ('missing' in rival) return [{ what, values: [], unit: 'ms', missing: `${rival.what}: ${rival.missing}` }]
  try {
    const sides: Target[] = [ours, { port: rival.port }]
    await byTurns(sides, (side) => requestsPerSecond(side, { seconds: 1 }))
    const most = await byTurns(sides, (side) => requestsPerSecond(side))
    const rate = Math.floor(Math.min(...most.flat()) / 2)
    const results: PacedResult[][] = [[], []]
    await byTurns([0, 1], async (index) => {
      const { port, host = 'localhost' } = sides[index] ?? ours
      const result = await pacedLatency({ port, host, path: '/', rate, connections: 256, seconds: settings.seconds })
      results[index]?.push(result)
      return result.p99
    })
    const [mine = [], theirs = []] = results
    const row = (what: string, of: keyof PacedResult): Row => ({
      what,
      values: mine.map((result) => result[of]),
      unit: 'ms',
      rival: { what: rivalName, values: theirs.map((result) => result[of]) },
    })
    return [
      { ...row(`${what} (${rate} req/s)`, 'p99'), target: '≤ 2 / 1' },
      row('  … p50', 'p50'),
      row('  … how late the client asked, p99', 'late99'),
    ]
  } finally {
    await closeAll([rival])
  }
}
