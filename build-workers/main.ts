import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { openStore } from '../registry/bundle-store/open.ts'
import { readConfig } from '../registry/config.ts'
import { forgetIsolation } from '../registry/isolation.ts'
import { createLog } from '../registry/log.ts'
import { openQueue, startBuildWorker } from '../registry/queue.ts'
import { every } from '../registry/schedule.ts'
import { loadKey } from '../registry/secrets.ts'
import { onShutdown, refuseToStart, tellReady } from '../registry/shutdown.ts'
import { connect } from '../registry/sql.ts'
import { AppNetworks } from '../sandbox/network/app-network.ts'
import { prepareRuntime } from '../sandbox/runtime.ts'
import { giveWay } from '../sandbox/yielding-group.ts'
import { Attempts } from './attempt.ts'
import { BackgroundEncoding } from './background-encoding.ts'
import { build } from './build.ts'
import { BuildCaches } from './build-caches.ts'
import { openBuildNetworks } from './build-egress.ts'
import { GitNetworks } from './git-network.ts'
import { hostNpmOnce } from './host-npm.ts'
import { watchBuildIsolation } from './isolation.ts'
import { LateHooks } from './late-hooks.ts'
import { takeUpAfterFormerSelf } from './restart.ts'

// An app that is gone has no builds, after which its caches would go.
const trimEveryMs = 10 * 60_000

const config = readConfig(process.env)
const log = createLog('worker')
// Packing and unpacking take seconds of processor time, and live apps go before them.
const yielding = giveWay({ log })
const sql = connect(config.databaseUrl, { max: config.buildConcurrency * 2 + 4, name: 'atelier-worker' })
const store = await openStore(config)
const queue = openQueue(config, { log })
const key = await loadKey(config)
// One worker per home: whoever starts here takes over from a former self, also after a SIGKILL.
const workerId = `worker-${hostname()}-${createHash('sha256').update(config.home).digest('hex').slice(0, 6)}`

const attempts = await Attempts.start(sql)
const caches = new BuildCaches({ config, sql, log })
const npm = hostNpmOnce(process.env, { toolsDir: caches.tools, log })
const networks = openBuildNetworks(config, { npm, env: process.env })
const gitNetworks = new GitNetworks(config)
const appNetworks = AppNetworks.open({ egressAllow: config.egressAllow, log })
await Promise.all([prepareRuntime(config.home), takeUpAfterFormerSelf({ sql, queue, config, caches, workerId, log })])
const isolation = watchBuildIsolation(config, { sql, networks, workerId, log })
await isolation.demand().catch((weak: unknown) => refuseToStart(weak, { log }))
const deps = {
  ...{ sql, store, queue, config, key, npm, networks, gitNetworks, caches, appNetworks },
  ...{ isolation, attempts, workerId, log },
}
const hooks = await LateHooks.start(deps)
const encoding = await BackgroundEncoding.start({ sql, store, log })
const worker = startBuildWorker(config, (deploymentId) => build(deploymentId, deps), {
  concurrency: config.buildConcurrency,
  log,
})

const trimming = every(trimEveryMs, () => caches.trim(), { log, name: 'trimming caches of builds' })

onShutdown(
  async () => {
    attempts.stopAll()
    await trimming.close()
    await hooks.close()
    await encoding.close()
    await worker.close()
    await attempts.close()
    await isolation.close()
    await Promise.all([networks.close(), gitNetworks.close()])
    await (await appNetworks).close()
    await forgetIsolation(sql, { part: 'worker', instance: workerId })
    await queue.close()
    await sql.end({ timeout: 5 })
    yielding.close()
  },
  { log, deadlineMs: 15_000 },
)
tellReady()
// Not while everything starts, and yet before the first push needs it.
setTimeout(() => void networks.prepare(), 500).unref()
setTimeout(() => npm().catch((err: unknown) => log.warn({ err }, 'host npm settings not read')), 5000).unref()
