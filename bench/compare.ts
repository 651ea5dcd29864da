import type { Atelier } from '../test/support/atelier.ts'
import type { Files } from '../test/support/repo.ts'
import { compareRates, type Target } from './load.ts'
import type { Row } from './measure.ts'
import type { Missing, Rival } from './rivals/rival.ts'

/** Pushes an app and says how to ask it. */
export async function deployed(atelier: Atelier, name: string, files: Files, path = '/'): Promise<Target> {
  const repo = await atelier.clone(await atelier.createApp(name))
  await repo.commit(files)
  await repo.push()
  return { port: atelier.port, host: `${name}.apps.localhost`, path }
}

/** A rival to be started, and what ours divided by it is to be: must / moonshot. */
export type Contest = { target: string; start: () => Promise<Rival | Missing> }

/** Requests per second of ours and of every rival that is there, by turns; a row for each rival. */
export async function compareWithRivals(what: string, ours: Target, contests: Contest[]): Promise<Row[]> {
  const rivals: (Rival | Missing)[] = []
  try {
    for (const { start } of contests) rivals.push(await start())
    const present = rivals.filter((rival) => 'port' in rival)
    const sides = [ours, ...present.map(({ port }) => ({ port, path: ours.path ?? '/' }))]
    const [values = [], ...theirs] = await compareRates(sides)
    return rivals.map((rival, index) => ({
      what: `${what} ÷ ${rival.what}`,
      values,
      unit: 'req/s',
      target: contests[index]?.target ?? '',
      rival: 'missing' in rival ? rival : { what: rival.what, values: theirs[present.indexOf(rival)] ?? [] },
    }))
  } finally {
    await closeAll(rivals)
  }
}

export async function closeAll(rivals: (Rival | Missing)[]): Promise<void> {
  await Promise.all(rivals.map((rival) => ('close' in rival ? rival.close() : undefined)))
}
