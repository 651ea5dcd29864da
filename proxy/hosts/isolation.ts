import { networkInterfaces } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../../registry/config.ts'
import { messageOf } from '../../registry/errors.ts'
import { forgetIsolation, recordIsolation } from '../../registry/isolation.ts'
import type { Log } from '../../registry/log.ts'
import type { Sql } from '../../registry/sql.ts'
import { describeIsolation, probeUser, proveIsolation } from '../../sandbox/isolation.ts'
import { IsolationWatch } from '../../sandbox/isolation-watch.ts'
import type { AppNetworks } from '../../sandbox/network/app-network.ts'

export type AppIsolation = {
  demand(): Promise<void>
  /** The edge has its id; what was proved is kept under it. */
  isOf(edgeId: string): void
  close(): Promise<void>
}

// After the worker's, on a machine that runs both.
const delayMs = 1000
const forgetMs = 1000

/** Proves how far the apps of this edge are walled off, and keeps it where the platform's status is read. */
export function watchAppIsolation(
  config: Config,
  { sql, networks, log }: { sql: Sql; networks: Promise<AppNetworks>; log: Log },
): AppIsolation {
  const edge = Promise.withResolvers<string>()
  let known: string | null = null
  const watch = new IsolationWatch({
    async prove() {
      const { namespace, resolvers, release } = await (await networks).lease()
      try {
        const user = await probeUser(config, 'app')
        return await proveIsolation({
          home: config.home,
          user,
          network: namespace,
          resolvers,
          addresses: ownPorts(config),
        })
      } finally {
        release()
      }
    },
    async keep(isolation) {
      const { mode, advice } = isolation
      const instance = await edge.promise
      await recordIsolation(sql, { part: 'proxy', instance, mode, summary: describeIsolation(isolation), advice })
    },
    setting: config.isolation,
    log,
    delayMs,
  })
  return {
    demand: () => watch.demand(),
    isOf(edgeId) {
      known = edgeId
      edge.resolve(edgeId)
    },
    async close() {
      await watch.close()
      if (known === null) return
      const forgotten = forgetIsolation(sql, { part: 'proxy', instance: known }).catch((thrown: unknown) =>
        log.debug({ err: messageOf(thrown) }, 'isolation not withdrawn'),
      )
      await Promise.race([forgotten, pause(forgetMs)])
    },
  }
}

// The platform listens on every address of this machine, once it serves.
function ownPorts({ httpPort }: Config): { host: string; port: number }[] {
  const all = Object.values(networkInterfaces()).flatMap((found) => found ?? [])
  return all
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => ({ host: address, port: httpPort }))
}
