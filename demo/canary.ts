// npm run demo:canary   a version that fails one request in twenty meets its users, and is taken back

import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../registry/errors.ts'
import { Visitors } from '../test/support/visitors.ts'
import { Person } from './person.ts'
import { DemoPlatform } from './platform.ts'
import { isOver, type Progress, progressLine, readProgress } from './progress.ts'
import { failing, shop } from './shop.ts'

const perSecond = 200
// Atelier knows of whole tens of seconds.
const visitedSec = 21
const longestSec = 180
const lookEveryMs = 1000

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stopping.abort())

try {
  await demonstrate(stopping.signal)
} catch (thrown) {
  say(stopping.signal.aborted ? '\nStopped.' : messageOf(thrown))
  process.exitCode = stopping.signal.aborted ? 130 : 1
}

async function demonstrate(signal: AbortSignal): Promise<void> {
  say('A platform of its own is started, on a free port and in a directory that is removed at the end.')
  await using platform = await DemoPlatform.start(signal)
  const person = await Person.with(platform, 'shop')
  await person.repo.commit(shop.good, 'The shop')
  await person.push({ isShown: false, signal })
  const host = 'shop.apps.localhost'
  say(
    `\nv1 is live at http://${host}:${platform.port} and fails ${percent(failing.good)} of its requests. ${perSecond} come each second.`,
  )
  await using visitors = new Visitors({ ports: [platform.port], host, perSecond })
  say(`For ${visitedSec} s Atelier sees how it does.`)
  await pause(visitedSec * 1000, null, { signal })

  say(`\nv2 fails ${percent(failing.bad)}, by chance: it starts well and passes its check.\n\n$ git push atelier main`)
  const version = await person.repo.commit(shop.bad, 'Show the prices')
  const before = visitors.count()
  await person.push({ isShown: true, signal })
  say('')
  const verdict = await follow(platform, version, signal)
  await visitors.stop()
  const served = { all: visitors.count().answers - before.answers, ofNew: visitors.count(version) }
  say(verdict ? closing(verdict, served) : `v2 was not taken back within ${longestSec} s.`)
  if (verdict?.state !== 'aborted') process.exitCode = 1
}

/** Shows the evidence as it grows; resolves when v2 is taken back, or is out, or null when it takes too long. */
async function follow(platform: DemoPlatform, version: string, signal: AbortSignal): Promise<Progress | null> {
  const startedAt = performance.now()
  for (let shown = ''; ; await pause(lookEveryMs, null, { signal })) {
    const seconds = (performance.now() - startedAt) / 1000
    const progress = await readProgress(platform, 'shop', version)
    const line = progress ? progressLine(progress) : ''
    if (line !== shown) say(`${seconds.toFixed(0).padStart(4)} s  ${line}`)
    shown = line
    if (progress && isOver(progress)) return progress
    if (seconds > longestSec) return null
  }
}

function closing(
  { state, sentence, why }: Progress,
  { all, ofNew }: { all: number; ofNew: { answers: number; bad: number } },
): string {
  if (state === 'done') return `v2 has all the traffic: ${sentence}. By bad luck it failed too few; try again.`
  const atOnce = Math.round(all * failing.bad)
  return [
    `\nTaken back: ${sentence}.`,
    'That is: requests that failed, of v2 and of v1. At most one version in so many that are as good as v1 comes to so much evidence.\n',
    ...describeReasons(why),
    `\nSince the push there were ${all} requests. ${ofNew.answers} came to v2, and ${ofNew.bad} of them failed.`,
    `With all of the traffic at once it would have failed about ${atOnce}, and gone on.`,
  ].join('\n')
}

function describeReasons(why: Progress['why']): string[] {
  const { failing_paths = [], stack_traces = [], commits = [] } = why ?? {}
  return [
    ...failing_paths.map(({ path, status, count }) => `  ${count} × ${status} at ${path}`),
    // What lies below the app itself is the platform's.
    ...stack_traces.slice(0, 1).flatMap((trace) => trace.split('\n', 2).map((line) => `  ${line}`)),
    ...commits.map(({ sha, subject }) => `  ${sha.slice(0, 7)} ${subject}`),
  ]
}

function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
