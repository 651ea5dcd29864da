import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { openDatabasePassword } from '../../registry/app-databases.ts'
import type { Config } from '../../registry/config.ts'
import { databaseServerOf } from '../../registry/database-server.ts'
import { openEnvSnapshot } from '../../registry/env-vars.ts'
import { AppError } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { Manifest } from '../../registry/manifest.ts'
import type { Key } from '../../registry/secrets.ts'
import { shortVersion } from '../../registry/version.ts'
import type { IsolateSpec, Runs } from '../../sandbox/isolate/isolate.ts'
import type { AppNetworks } from '../../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../../sandbox/network/database-relay.ts'
import { leaseUser } from '../../sandbox/users.ts'
import type { LocalBundle, LocalBundles } from '../bundles/local-bundles.ts'
import type { AppLogShipper } from './app-log-shipper.ts'
import type { DataFolders } from './data-folders.ts'
import { Host, type HostLimits } from './host.ts'
import type { LoadDeployment, LocalRef } from './local-deployment.ts'
import { startMasked } from './masked-isolate.ts'

const mostIsolates = 4

export type LoadDeps = {
  networks: Promise<AppNetworks>
  config: Config
  key: Key
  bundles: LocalBundles
  appLog: AppLogShipper
  log: Log
  limits: HostLimits
  hasFreeCore: () => boolean
  data: Pick<DataFolders, 'open'>
  /** Rejects when no app may be started here now. */
  admit?: () => Promise<void>
}

/** Brings a deployment's bundle to this machine and starts its host, which may come up later: requests wait for it. */
export function deploymentLoader(deps: LoadDeps): LoadDeployment {
  // Sockets of one deployment's successive processes have names of their own, also across restarts of this process.
  let starts = Date.now() % 1_000_000
  const socketPath = (id: string) => join(deps.config.runDir, 'i', `${id}.${(++starts).toString(36)}.sock`)

  return async (ref, tell) => {
    const bundle = await deps.bundles.bring(ref)
    const { manifestPath } = bundle
    const { files: _, ...manifest } = bundle.manifest
    if (manifest.kind === 'static') return { manifest, manifestPath, host: null }

    await deps.admit?.()
    const { spec, database } = await openRoom(ref, bundle, deps)
    const host = new Host(spec, {
      start: async (starting) => {
        const networks = await deps.networks
        // A variable that was set goes before the one that was given.
        const started = (network: object, env: Record<string, string>) =>
          startMasked({ ...starting, ...network, env: { ...env, ...starting.env } })
        return networks.start(started, { database })
      },
      socketPath: () => socketPath(ref.id),
      maxIsolates: maxIsolatesOf(manifest),
      hasFreeCore: deps.hasFreeCore,
      onLine: (stream, line) => deps.appLog.add(ref, stream, line),
      onState: (state) => tell({ type: 'host', id: ref.id, state }),
      log: deps.log,
      limits: deps.limits,
    })
    return { manifest, manifestPath, host }
  }
}

export type Room = { spec: Omit<IsolateSpec, 'socketPath' | 'onLog'>; database: DatabaseAccess | null }

/** What programs of a deployment find: its code, variables, user, folder at /data, and the way to its database. */
export async function openRoom(ref: LocalRef, bundle: LocalBundle, deps: RoomDeps): Promise<Room> {
  const spec = await hostSpec(ref, bundle, deps)
  const dataDir = await dataDirOf(ref, bundle.manifest, deps)
  return { spec: { ...spec, dataDir }, database: databaseAccess(ref, deps) }
}

export type RoomDeps = Pick<LoadDeps, 'config' | 'key' | 'data' | 'appLog'>

// Of what keeps anything in memory between requests two would be two apps.
function maxIsolatesOf({ kind, max_isolates: most }: Pick<Manifest, 'kind' | 'max_isolates'>): number {
  if (kind !== 'fetch') return 1
  return Math.min(most ?? availableParallelism(), mostIsolates)
}

async function hostSpec(
  ref: LocalRef,
  { manifest, codeDirectory }: LocalBundle,
  { config, key }: RoomDeps,
): Promise<Omit<IsolateSpec, 'socketPath' | 'onLog'>> {
  const runs = runsOf(manifest)
  if (runs === null || codeDirectory === null) {
    throw new AppError(
      'STORE_CORRUPT',
      `the bundle of ${ref.appId} is of kind ${manifest.kind} and holds no server code`,
    )
  }
  const scope = { app: ref.appId, environment: ref.environment }
  return {
    name: `${ref.appId} ${shortVersion(ref.version)}`,
    home: config.home,
    runs,
    directory: codeDirectory,
    env: openEnvSnapshot(ref.envSnapshot, { scope, key, purpose: 'run' }),
    user: await leaseUser(config, { purpose: 'app', app: ref.appId }),
    memoryMb: config.appLimits.memoryMb,
    processes: config.appLimits.processes,
  }
}

async function dataDirOf(
  ref: LocalRef,
  { data }: Pick<Manifest, 'data'>,
  { data: folders, config, appLog }: RoomDeps,
): Promise<string | undefined> {
  if (!data || !ref.routeId) return undefined
  const user = await leaseUser(config, { purpose: 'app', app: ref.appId })
  return folders.open(ref.routeId, user, (line) => appLog.add(ref, 'platform', line))
}

function databaseAccess({ database }: LocalRef, { config, key }: RoomDeps): DatabaseAccess | null {
  if (!database) return null
  const password = openDatabasePassword(database, key)
  return { server: databaseServerOf(config, database), name: database.name, password }
}

function runsOf({ kind, server }: Manifest): Runs | null {
  if (kind === 'process') return server?.start ? { kind, ...server.start } : null
  return kind !== 'static' && server?.entry ? { kind, entry: server.entry } : null
}
