import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { ask } from '../test/support/http.ts'
import { writeFiles } from '../test/support/repo.ts'
import { type BenchApp, benchApps, helperServers } from './apps.ts'
import { ByHand } from './by-hand.ts'
import { type Row, repeat, seconds } from './measure.ts'

const runs = 7

// Whoever waits for the new version asks for it all the time: that is traffic, and would be shared out in stages.
const atOnce = '--push-option=canary=skip'

/**
 * Push → first byte of the new version, caches warm, beside the same by hand; then three more while a visitor keeps asking. And the push itself, of a
 * version that nobody visits: through a rollout, with its probes, and all at once.
 */
export async function measurePushes(atelier: Atelier): Promise<Row[]> {
  const rows: Row[] = []
  for (const app of await benchApps()) rows.push(...(await measurePush(atelier, app)))
  return rows
}

async function measurePush(atelier: Atelier, bench: BenchApp): Promise<Row[]> {
  const name = `bench-${bench.name}`
  const repo = await atelier.clone(await atelier.createApp(name))
  await repo.commit({ ...bench.files, ...bench.saying('first') })
  await repo.push()

  const directory = await atelier.directory()
  await writeFiles(directory, helperServers)
  await mkdir(join(directory, 'by-hand'))
  const byHand = await ByHand.create(directory, bench.byHand)
  await byHand.push(repo)

  const ours: number[] = []
  const theirs: number[] = []
  const pushBoth = async (text: string) => {
    await repo.commit(bench.saying(text))
    ours.push(await untilSeen(repo.push(atOnce), () => atelier.get(name, '/'), text))
    theirs.push(await untilSeen(byHand.push(repo), () => ask(byHand.port, 'localhost', '/'), text))
  }
  await repeat(runs, (index) => pushBoth(`version ${index} of ${runs}`))
  await byHand.close()

  const idle = `${name}-idle`
  const quiet = await atelier.clone(await atelier.createApp(idle))
  await quiet.commit({ ...bench.files, ...bench.saying('first') })
  await quiet.push()
  const [probed, skipped]: [number[], number[]] = [[], []]
  await repeat(runs, async (index) => {
    await quiet.commit(bench.saying(`quiet ${index}`))
    probed.push(await seconds(() => quiet.push()))
    await quiet.commit(bench.saying(`quiet ${index} at once`))
    skipped.push(await seconds(() => quiet.push(atOnce)))
  })

  await using traffic = atelier.keepRequesting(name, '/')
  await repeat(3, async (index) => {
    await repo.commit(bench.saying(`visited ${index}`))
    await repo.push(atOnce)
  })
  await traffic.stop()
  return [
    {
      what: `push → first byte, ${bench.name} (must / moonshot)`,
      values: ours,
      unit: 's',
      target: bench.target,
      rival: { what: 'by hand', values: theirs },
    },
    {
      what: `  … the push alone, with its probes, ${bench.name}`,
      values: probed,
      unit: 's',
      rival: { what: 'at once', values: skipped },
    },
    {
      what: `  … failed requests of a visitor in three more pushes, ${bench.name}`,
      values: [traffic.failures.length],
      unit: 'requests',
      target: '0',
    },
    {
      what: `  … push over the same by hand, ${bench.name}`,
      values: ours.map((value, index) => value - (theirs[index] ?? 0)),
      unit: 's',
      target: '≤ 0.5 s',
    },
  ]
}

/**
 * Seconds until `get` brings the text, from the start of the push. Who asks is a visitor, and what is asked takes its part of the processor: where the
 * rival is alone with it, `everyMs` is to be long.
 */
export async function untilSeen(
  pushing: Promise<unknown>,
  get: () => Promise<{ body: string }>,
  text: string,
  everyMs = 2,
): Promise<number> {
  const startedAt = performance.now()
  const seen = (async () => {
    for (;;) {
      const body = await get().then(
        (answer) => answer.body,
        () => '',
      )
      if (body.includes(text)) return (performance.now() - startedAt) / 1000
      await new Promise((resolve) => setTimeout(resolve, everyMs))
    }
  })()
  await pushing
  return seen
}
