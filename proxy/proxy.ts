import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import type { Config } from '../registry/config.ts'
import { newId } from '../registry/ids.ts'
import type { Log } from '../registry/log.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import { AppNetworks } from '../sandbox/network/app-network.ts'
import { AppLogShipper } from './app-log-shipper.ts'
import { BlobFiles } from './blob-files.ts'
import { ControlPlane } from './control-plane.ts'
import { Deployments } from './deployments.ts'
import { readIfThere, writeWhole } from './durable-file.ts'
import { Edge } from './edge.ts'
import { defaultLimits, type ProxyLimits } from './limits.ts'
import { Listener } from './listener.ts'
import { deploymentLoader } from './load.ts'
import { LocalBundles } from './local-bundles.ts'
import { Preparations } from './preparations.ts'
import { RegistryLink } from './registry-link.ts'
import { Residents } from './residents.ts'
import { RouteSnapshots } from './route-snapshot.ts'
import { RouteTable } from './route-table.ts'
import { StallWatch } from './stall-watch.ts'
import { TrustedProxies } from './trusted-proxies.ts'
import { Upgrades } from './upgrades.ts'

export type ProxyDeps = {
  sql: Sql
  store: BundleStore
  key: Key
  log: Log
  /** Those of apps; closed with the proxy. */
  networks?: Promise<AppNetworks>
  /** Rejects when no app may be started here now. */
  admit?: () => Promise<void>
}

/** `host`: listen on this address only. */
export type ProxyOptions = { host?: string; port?: number; limits?: Partial<ProxyLimits> }

export type RunningProxy = { port: number; edgeId: string; close(): Promise<void> }

/**
 * Starts the proxy tier of one machine: the edge serves the routes it last knew, from disk, before anything else is there; then the line
 * to the registry brings what has changed. Throws PORT_IN_USE.
 */
export async function startProxy(
  config: Config,
  { sql, store, key, log, admit, networks = openNetworks(config, log) }: ProxyDeps,
  { host, port = config.httpPort, limits: given }: ProxyOptions = {},
): Promise<RunningProxy> {
  const limits = { ...defaultLimits, ...given }
  const directory = await openDirectories(config)
  const edgeId = await readEdgeId(join(directory, 'id'))

  const appLog = new AppLogShipper(sql, { log })
  const blobs = new BlobFiles(store, join(directory, 'blobs'))
  const bundles = new LocalBundles(join(directory, 'apps'), { store, blobs })
  const load = deploymentLoader({ networks, config, key, bundles, blobs, appLog, log, limits, admit })
  const deployments = new Deployments({ load, log })
  const table = new RouteTable(config)
  const snapshots = new RouteSnapshots(join(directory, 'routes'), { log })
  const preparations = new Preparations({ sql, edgeId, deployments, log, appsDomain: config.appsDomain })
  const residents = new Residents({ table, snapshots, deployments, preparations, bundles, log })

  await residents.restore()
  const stalls = new StallWatch(limits)
  const trusted = new TrustedProxies(config.trustedProxies)
  const edge = new Edge({
    table,
    deployments,
    controlPlane: new ControlPlane(config, { log }),
    upgrades: new Upgrades({ cookieSuffix: config.appsDomain }),
    stalls,
    trusted,
    appsDomain: config.appsDomain,
    limits,
    log,
  })
  const listener = await Listener.open(edge, { port, host }, { limits, trusted, log })
  residents.settle()
  const link = new RegistryLink({
    sql,
    edgeId,
    log,
    onRoutes: (routes) => residents.follow(routes),
    onPrepare: () => preparations.begin(),
    onEnded: (id) => preparations.release(id),
  })
  log.info({ port: listener.port, routes: table.routes().length }, 'edge serves')

  return {
    port: listener.port,
    edgeId,
    async close() {
      await Promise.all([listener.close(limits.closeDeadlineMs), link.close()])
      stalls.close()
      await deployments.close()
      await (await networks).close()
      await Promise.all([appLog.close(), snapshots.close()])
    },
  }
}

/** Networks for apps, with what the settings let through. */
export function openNetworks({ egressAllow }: Config, log: Log): Promise<AppNetworks> {
  return AppNetworks.open({ egressAllow, log })
}

// Apps run as other users and must reach their own code below edge/; nobody but the edge reaches their sockets.
async function openDirectories({ home, runDir }: Config): Promise<string> {
  const directory = join(home, 'edge')
  await mkdir(directory, { recursive: true })
  await chmod(directory, 0o711)
  const sockets = join(runDir, 'i')
  await rm(sockets, { recursive: true, force: true })
  await mkdir(sockets, { recursive: true })
  await chmod(sockets, 0o700)
  return directory
}

// Kept over restarts: a proxy that comes back takes its own lease up again instead of leaving one that others wait for.
async function readEdgeId(path: string): Promise<string> {
  const kept = (await readIfThere(path))?.toString('utf8') ?? ''
  if (/^[a-z0-9]{12}$/.test(kept)) return kept
  const id = newId()
  await writeWhole(path, id)
  return id
}
