import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import type { Config } from '../registry/config.ts'
import { toAppError } from '../registry/errors.ts'
import { newId } from '../registry/ids.ts'
import type { Log } from '../registry/log.ts'
import { deriveKey, type Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import { AppNetworks } from '../sandbox/network/app-network.ts'
import { FormBringer } from './bundles/better-forms.ts'
import { BlobFiles } from './bundles/blob-files.ts'
import { readIfThere, writeWhole } from './bundles/durable-file.ts'
import { LocalBundles } from './bundles/local-bundles.ts'
import { RetainedBundles } from './bundles/retained-bundles.ts'
import type { EdgeSettings, ToEdge } from './edge-messages.ts'
import { EdgePool } from './edge-pool.ts'
import { FreeCores } from './free-cores.ts'
import { Fuses } from './fuses.ts'
import { AppLogShipper } from './hosts/app-log-shipper.ts'
import { AppRuns } from './hosts/app-runs.ts'
import { DataFolders } from './hosts/data-folders.ts'
import { HostReports } from './hosts/host-reports.ts'
import { deploymentLoader } from './hosts/load.ts'
import { LocalDeployments } from './hosts/local-deployments.ts'
import { Pins } from './hosts/pins.ts'
import { Preparations } from './hosts/preparations.ts'
import { Residents } from './hosts/residents.ts'
import { StartQueue } from './hosts/start-queue.ts'
import { KnownRoutes } from './known-routes.ts'
import { defaultLimits, type ProxyLimits } from './limits.ts'
import { Probes } from './probes.ts'
import { RegistryLink } from './registry-link.ts'
import { RouteSnapshots } from './route-snapshot.ts'
import { TrafficReports } from './traffic-reports.ts'

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

export type RunningProxy = {
  port: number
  edgeId: string
  /** Of the edge processes that run now. */
  edgePids(): number[]
  close(): Promise<void>
}

/**
 * Starts the proxy tier of one machine: its edge processes serve the routes last known, from disk, before anything else is there; then
 * the line to the registry brings what has changed. Throws PORT_IN_USE.
 */
export async function startProxy(
  config: Config,
  { sql, store, key, log, admit, networks = openNetworks(config, log) }: ProxyDeps,
  { host, port = config.httpPort, limits: given }: ProxyOptions = {},
): Promise<RunningProxy> {
  const limits = { ...defaultLimits, stuckAfterMs: config.appLimits.stuckAfterMs, ...given }
  const directory = await openDirectories(config)
  const edgeId = await readEdgeId(join(directory, 'id'))

  const appLog = new AppLogShipper(sql, { log })
  const blobsDirectory = join(directory, 'blobs')
  const blobs = new BlobFiles(store, blobsDirectory)
  const bundles = new LocalBundles(join(directory, 'apps'), { store, blobs, home: config.home })
  const known = new KnownRoutes()
  const probeToken = randomBytes(32).toString('base64url')
  const fuses = new Fuses()
  const traffic = new TrafficReports({ sql, edgeId, log })
  const edges: EdgePool = new EdgePool({
    count: config.edges,
    settings: { ...edgeSettings(config, { store, key, blobsDirectory, limits, log }), probeToken },
    env: edgeEnv(config),
    ...{ limits, log },
    known: () => ({ messages: [...deployments.told(), ...retained.told()], routes: known.all() }),
    onAsked: (message, reply) => {
      if (message.type === 'want') deployments.answer(message.id, reply)
      if (message.type === 'wake') deployments.wake(message.id)
      if (message.type === 'used') deployments.used(message.ids)
      if (message.type === 'rollouts') traffic.takeReports(message.reports, reply)
      if (message.type === 'bins') traffic.takeBins(message.bins)
      if (message.type === 'fuse') edges.tell(fuses.hear(message))
      if (message.type === 'pin') void pins.answer(message).then(reply)
      if (message.type === 'bring') void bring(message.digest, blobs).then(reply)
    },
  })
  const cores = new FreeCores()
  const hasFreeCore = () => cores.count >= limits.minFreeCores
  const data = new DataFolders({ home: config.home, limitMb: config.appLimits.dataMb, sql, log })
  const load = deploymentLoader({ data, networks, config, key, bundles, appLog, log, limits, admit, hasFreeCore })
  const starts = new StartQueue({ atOnce: 2 * availableParallelism(), log })
  const later = (start: () => Promise<void>) => starts.add(start)
  const deployments = new LocalDeployments({ load, edges, later, limits, log })
  const retained = new RetainedBundles({
    path: join(directory, 'retained.json'),
    tell: (message) => edges.tell(message),
    ...{ bundles, log },
  })
  const snapshots = new RouteSnapshots(join(directory, 'routes'), { log })
  const forms = new FormBringer({ bundles, deployments, tell: (message) => edges.tell(message), log })
  const preparations = new Preparations({ sql, edgeId, deployments, log, appsDomain: config.appsDomain })
  const pins = new Pins({ sql, known, deployments })
  const probes = new Probes({
    ...{ sql, edgeId, known, edges, deployments, host, appsDomain: config.appsDomain, token: probeToken, log },
  })
  const parts = { known, edges, snapshots, deployments, preparations, pins, bundles, retained, log }
  const residents = new Residents({ ...parts, isRunIn: (id) => runs.uses(id) })

  await residents.restore()
  await edges.open({ port, host })
  residents.settle()
  const runs = new AppRuns({
    ...{ sql, edgeId, config, key, bundles, networks, data, appLog, log },
    ...(admit && { admit }),
  })
  const looking = setInterval(() => {
    cores.look()
    deployments.sleepIdle()
    deployments.checkAlive()
  }, limits.useLookMs)
  const reports = new HostReports({ sql, edgeId, hosts: () => deployments.reports() })
  const link = new RegistryLink({
    sql,
    edgeId,
    log,
    onRoutes: (routes) => {
      data.follow(routes)
      return residents.follow(routes)
    },
    onRetained: (list) => retained.follow(list),
    onPurges: (purges) => edges.purge(purges),
    onEncoded: (list) => forms.follow(list),
    onLease: (isNew) => reports.tell(isNew),
    onPrepare: () => preparations.begin(),
    onRollout: () => probes.begin(),
    onEnded: (id) => preparations.release(id),
  })
  log.info({ port: edges.port, routes: known.all().length }, 'edge serves')

  return {
    port: edges.port,
    edgeId,
    edgePids: () => edges.pids,
    async close() {
      clearInterval(looking)
      starts.close()
      await runs.close()
      // While the registry still knows this edge it takes in what was counted last.
      await edges.close(limits.closeDeadlineMs)
      await traffic.close()
      await link.close()
      await deployments.close()
      await (await networks).close()
      await Promise.all([data.close(), appLog.close(), snapshots.close(), retained.close(), forms.close()])
    },
  }
}

function edgeSettings(
  { domain, appsDomain, runDir, gatewayUrl, registryUrl, storeUrl, trustedProxies, edges, responseCache }: Config,
  {
    store,
    key,
    blobsDirectory,
    limits,
    log,
  }: { store: BundleStore; key: Key; blobsDirectory: string; limits: ProxyLimits; log: Log },
): Omit<EdgeSettings, 'number' | 'probeToken'> {
  return {
    ...{ domain, appsDomain, runDir, gatewayUrl, registryUrl, blobsDirectory, trustedProxies, responseCache },
    // The kernel spreads one client's connections evenly.
    limits: { ...limits, maxConnectionsPerClient: Math.ceil(limits.maxConnectionsPerClient / edges) },
    storeDirectory: store.localPath('blobs') === null ? null : storeUrl.slice('file:'.length),
    visitorKey: deriveKey(key, 'visitor cookie').toString('base64'),
    logLevel: log.level,
  }
}

// Nothing of the platform's own environment, which holds the database's address and may hold the key. The home is there for people who
// look whose process this is; what is compiled once takes 30 MB less in each.
function edgeEnv({ home }: Config): NodeJS.ProcessEnv {
  return { ATELIER_HOME: home, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(home, 'compiled') }
}

async function bring(digest: string, blobs: BlobFiles): Promise<ToEdge> {
  try {
    await blobs.bringAgain(digest)
    return { type: 'brought', digest, error: null }
  } catch (thrown) {
    const { code, message } = toAppError(thrown)
    return { type: 'brought', digest, error: { code, message } }
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
