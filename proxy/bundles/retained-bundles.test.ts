import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { createLog } from '../../registry/log.ts'
import type { RetainedBundle } from '../../registry/retained.ts'
import type { Route } from '../../registry/routes.ts'
import type { ToEdge } from '../edge-messages.ts'
import { BlobFiles } from './blob-files.ts'
import { LocalBundles } from './local-bundles.ts'
import { RetainedBundles } from './retained-bundles.ts'

let root: string
let retained: RetainedBundles
let told: ToEdge[]
const log = createLog('proxy').child({}, { level: 'silent' })

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'atl-retained-'))
  told = []
  retained = open()
})
afterEach(async () => {
  await retained.close()
  await rm(root, { recursive: true })
})

function open(): RetainedBundles {
  const store = new FileStore(join(root, 'store'))
  const bundles = new LocalBundles(join(root, 'apps'), { store, blobs: new BlobFiles(store, join(root, 'blobs')) })
  return new RetainedBundles({ path: join(root, 'retained.json'), bundles, tell: (message) => told.push(message), log })
}

const bundle = (version: string): RetainedBundle => ({
  id: `deployment${version}`,
  version,
  manifestKey: `builds/app/${version}/manifest.json`,
  manifestSha256: version.repeat(64).slice(0, 64),
})
const route = (live: string, candidate: string | null = null): Route => {
  const routed = (version: string) => ({ ...bundle(version), number: 1, envSnapshot: {} })
  return {
    ...{ id: 'r', appId: 'app', environment: 'production', branch: 'main', label: 'app', generation: 1, weight: 0 },
    live: routed(live),
    candidate: candidate === null ? null : routed(candidate),
    ...{ warm: null, rollout: null },
  }
}
const change = (changed: Route) => retained.change({ changed: [changed], gone: [] })
const versionsTold = () =>
  told.map((message) => (message.type === 'retained' ? message.bundles.map(({ headers }) => headers[1]) : null))

test('who leaves a route is told to the edges behind who serves it, the last left first, and a return changes the order', () => {
  change(route('1'))
  expect(told).toEqual([])
  change(route('2'))
  change(route('2', '3'))
  change(route('3'))
  change(route('1'))
  expect(versionsTold()).toEqual([
    ['2', '1'],
    ['2', '3', '1'],
    ['3', '2', '1'],
    ['1', '3', '2'],
  ])
  expect(retained.isRetained('deployment2')).toBe(true)
  expect(retained.isRetained('deployment1')).toBe(false)
})

test('a list that was read before a flip does not take back what left in it; one without them lets older ones go', async () => {
  await retained.restore([route('1')])
  change(route('2'))
  retained.follow([])
  await retained.close()
  expect(retained.isRetained('deployment1')).toBe(true)

  const next = open()
  await next.restore([route('2')])
  expect(next.isRetained('deployment1')).toBe(true)
  next.follow([])
  await next.close()
  expect(next.isRetained('deployment1')).toBe(false)
  expect(JSON.parse(await readFile(join(root, 'retained.json'), 'utf8'))).toEqual([])
})

test('a route that is gone retains nothing, and a bundle whose manifest cannot be had is not promised', async () => {
  change(route('1'))
  change(route('2'))
  retained.change({ changed: [], gone: ['r'] })
  expect(versionsTold()).toEqual([['2', '1'], []])
  expect(retained.told()).toEqual([])
  retained.follow([{ routeId: 'r', appId: 'app', environment: 'production', bundles: [bundle('9')] }])
  await retained.close()
  expect(retained.isRetained('deployment9')).toBe(false)
})
