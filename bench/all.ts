import { cpus, release, totalmem } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { beforeAll } from 'vitest'
import { Atelier, test } from '../test/support/atelier.ts'
import { measureApi } from './api.ts'
import { measureBarrels } from './barrels.ts'
import { measureBesideBuilds } from './beside-builds.ts'
import { measureCaches, measureColdBuilds, measureLargeSite, measureUnchanged, measureWarmNext } from './builds.ts'
import { measureCached } from './cached.ts'
import { measureDecide, showSimulation } from './canary.ts'
import { measureDev } from './dev.ts'
import { measureEdge } from './edge.ts'
import { measureExpress } from './express.ts'
import { measureFlips } from './flip.ts'
import { measureLargePush } from './large-push.ts'
import { measureLatency } from './latency.ts'
import { format, type Row } from './measure.ts'
import { measureMemory, measureMemoryPerDeployment } from './memory.ts'
import { measurePushes } from './push.ts'
import { measureRecovery } from './recovery.ts'
import { measureRollbacks } from './rollback.ts'
import { measureIngestion } from './rollout-ingestion.ts'
import { measureRouting } from './routing.ts'
import { measureSoak } from './soak.ts'
import { measureStart } from './start.ts'
import { measureStatic } from './static.ts'
import { measureSwaps } from './swaps.ts'
import { measureVerdicts } from './verdict.ts'
import { measureWakes } from './wake.ts'
import { measureLauncher, measureRelay } from './walls.ts'
import { measureWallsOfPush } from './weak-walls.ts'

// The first seconds after a start prove the walls, with programs of their own.
const settleMs = 5_000

const show = (rows: Row[]) => {
  for (const row of rows) console.log(format(row))
}

beforeAll(() => {
  const machine = `${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`
  console.log(`${machine}, Node ${process.version}; npm run bench`)
})

test('walls of a program', async () => show(await measureLauncher()))

test('relay of builds', async () => show(await measureRelay()))

test('walls of a push', async () => show(await measureWallsOfPush()))

test('large push', async ({ atelier }) => show(await measureLargePush(atelier)))

test('edge', async ({ atelier }) => show(await measureEdge(atelier)))

test('latency', async ({ atelier }) => show(await measureLatency(atelier)))

test('express', async ({ atelier }) => show(await measureExpress(atelier)))

test('static files', async ({ atelier }) => show(await measureStatic(atelier)))

test('cached answers', async ({ atelier }) => show(await measureCached(atelier)))

test('recovery', async ({ atelier }) => show(await measureRecovery(atelier)))

test('start', async () => show(await measureStart()))

// Platforms of their own: the other measurements leave apps behind, which run.
test('idle memory', async () => {
  await using atelier = await Atelier.start()
  await pause(settleMs)
  show(await measureMemory(atelier, 'idle, no app'))
})

test('pushes', async () => {
  await using atelier = await Atelier.start()
  show(await measurePushes(atelier))
  show(await measureMemory(atelier, 'three live apps'))
})

test('dev', async () => show(await measureDev()))

test('cold builds', async ({ atelier }) => show(await measureColdBuilds(atelier)))

test('warm next', async ({ atelier }) => show(await measureWarmNext(atelier)))

test('large site', async ({ atelier }) => show(await measureLargeSite(atelier)))

test('unchanged source', async ({ atelier }) => show(await measureUnchanged(atelier)))

test('caches of builds', async ({ atelier }) => show(await measureCaches(atelier)))

test('barrels', async () => show(await measureBarrels()))

test('beside builds', async ({ atelier }) => show(await measureBesideBuilds(atelier)))

test('api', async () => {
  await using atelier = await Atelier.start({ env: { ATELIER_API_TOKEN_RATE: '0', ATELIER_API_ADDRESS_RATE: '0' } })
  show(await measureApi(atelier))
})

test('flips', async () => show(await measureFlips()))

test('swaps', async () => show(await measureSwaps()))

test('wake', async () => show(await measureWakes()))

test('routing', async () => show(await measureRouting()))

test('memory of deployments', async ({ atelier }) => show(await measureMemoryPerDeployment(atelier)))

test('hostile soak', async () => show(await measureSoak()))

test('rollback', async ({ atelier }) => show(await measureRollbacks(atelier)))

test('verdicts', async () => show(await measureVerdicts()))

test('report ingestion', async () => show(await measureIngestion()))

test('canary', () => {
  show(measureDecide())
  showSimulation()
})
