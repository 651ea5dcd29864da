import type { Atelier } from '../test/support/atelier.ts'
import { processesOf } from '../test/support/processes.ts'
import type { Files } from '../test/support/repo.ts'
import { compareRates, type Rate, type Side } from './load.ts'
import type { Row } from './measure.ts'
import type { Missing, Rival } from './rivals/rival.ts'

/** Pushes an app and says how to ask it. */
export async function deployed(atelier: Atelier, name: string, files: Files, path = '/'): Promise<Side> {
  const repo = await atelier.clone(await atelier.createApp(name))
  await repo.commit(files)
  await repo.push()
  const pids = () => processesOf(atelier.home).map(({ pid }) => pid)
  return { port: atelier.port, host: `${name}.apps.localhost`, path, pids }
}

/** A rival to be started, and what ours divided by it is to be: must / moonshot. */
export type Contest = { target: string; start: () => Promise<Rival | Missing> }

/** Requests per second of ours and of every rival that is there, by turns, and what a request costs each in processor time. */
export async function compareWithRivals(what: string, ours: Side, contests: Contest[]): Promise<Row[]> {
  const rivals: (Rival | Missing)[] = []
  try {
    for (const { start } of contests) rivals.push(await start())
    const present = rivals.filter((rival) => 'port' in rival)
    const sides = [ours, ...present.map(({ port, pids }) => ({ port, pids, path: ours.path ?? '/' }))]
    const [mine = [], ...theirs] = await compareRates(sides)
    return rivals.flatMap((rival, index): Row[] => {
      const row = `${what} ÷ ${rival.what}`
      const target = contests[index]?.target ?? ''
      const values = mine.map(({ perSecond }) => perSecond)
      if ('missing' in rival) return [{ what: row, values, unit: 'req/s', target, rival }]
      const rates = theirs[present.indexOf(rival)] ?? []
      const against = (of: keyof Rate) => ({ what: rival.what, values: rates.map((rate) => rate[of]) })
      const cpu = mine.map(({ cpuMicros }) => cpuMicros)
      return [
        { what: row, values, unit: 'req/s', target, rival: against('perSecond') },
        { what: '  … processor time of a request', values: cpu, unit: 'µs', rival: against('cpuMicros') },
      ]
    })
  } finally {
    await closeAll(rivals)
  }
}

export async function closeAll(rivals: (Rival | Missing)[]): Promise<void> {
  await Promise.all(rivals.map((rival) => ('close' in rival ? rival.close() : undefined)))
}
