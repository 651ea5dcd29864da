import { expect } from 'vitest'
import { messageOf } from '../../registry/errors.ts'
import type { TestEdge } from './edge.ts'
import { mixedApp } from './mixed-app.ts'
import { MixedLoad, type MixedLoadSize } from './mixed-load.ts'

export type Swaps = {
  load: MixedLoad
  /** `<version> <body>` of those that became live, in order. */
  live: string[]
  /** Why the versions that were not fit to be were refused. */
  refusals: string[]
  /** Of the requests before the first swap, and from then on; milliseconds. */
  latencies: { before: number[]; during: number[] }
}

/** Puts `count` new versions of an app before its users, one after the other, under a mixed load; every `sickEvery`th answers only 500. */
export async function swapUnderLoad(
  edge: TestEdge,
  app: string,
  { count, sickEvery, size }: { count: number; sickEvery: number; size?: Partial<MixedLoadSize> },
): Promise<Swaps> {
  const live: string[] = []
  const deploy = async (name: string) => {
    const { version } = await edge.deploy(app, mixedApp(name))
    live.push(`${version} ${name}`)
  }
  await deploy('swap 0')
  await using load = new MixedLoad({ port: edge.port, host: edge.hostOf(app) }, size)
  // All kinds of it are under way before the first swap.
  await expect.poll(() => Math.min(load.done.messages, load.done.streams, load.done.uploads)).toBeGreaterThan(10)
  const before = load.latencies.splice(0)
  const refusals: string[] = []
  for (let swap = 1; swap <= count; swap++) {
    if (swap % sickEvery !== 0) await deploy(`swap ${swap}`)
    else refusals.push(await edge.deploy(app, mixedApp(`swap ${swap}`, { isSick: true })).then(String, messageOf))
  }
  // Swaps may be quicker than the first version's deadline, at which its sockets are told.
  await expect.poll(() => load.done.socketsTold + load.failures.length).toBeGreaterThanOrEqual(load.size.sockets)
  await load.stop()
  return { load, live, refusals, latencies: { before, during: load.latencies } }
}

export function expectNothingLost({ load, live, refusals }: Swaps): void {
  expect(load.failures).toEqual([])
  expect([...load.answers]).toEqual(live)
  for (const refusal of refusals) expect(refusal).toContain('GET / answered 500')
  expect(load.done.socketsTold).toBeGreaterThanOrEqual(load.size.sockets)
}
