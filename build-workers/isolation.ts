import type { Config } from '../registry/config.ts'
import { isWeak, recordIsolation } from '../registry/isolation.ts'
import type { Log } from '../registry/log.ts'
import { tellNotice } from '../registry/shutdown.ts'
import type { Sql } from '../registry/sql.ts'
import { describeIsolation, probeUser, proveIsolation } from '../sandbox/isolation.ts'
import { IsolationWatch } from '../sandbox/isolation-watch.ts'
import type { BuildNetworks } from '../sandbox/network/build-network.ts'

type Deps = { sql: Sql; networks: BuildNetworks; workerId: string; log: Log }

// The network that builds get is made by then, and everything else has started.
const delayMs = 700

/** Proves how far this worker's builds are walled off, keeps it where the platform's status is read, and tells the person at the terminal. */
export function watchBuildIsolation(config: Config, { sql, networks, workerId, log }: Deps): IsolationWatch {
  let told = 'full'
  return new IsolationWatch({
    async prove() {
      const network = await networks.lease(() => undefined)
      try {
        const user = await probeUser(config, 'build')
        return await proveIsolation({ home: config.home, user, network: network.namespace ?? undefined })
      } finally {
        network.release()
      }
    },
    async keep(isolation) {
      const { mode, advice } = isolation
      const summary = describeIsolation(isolation)
      if (mode !== told) tellNotice(`isolation ${mode}: ${summary}${isWeak({ mode }) ? '; see: atelier doctor' : ''}`)
      told = mode
      await recordIsolation(sql, { part: 'worker', instance: workerId, mode, summary, advice })
    },
    setting: config.isolation,
    log,
    delayMs,
  })
}
