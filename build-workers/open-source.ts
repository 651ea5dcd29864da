import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import type { Config } from '../registry/config.ts'
import type { Deployment } from '../registry/deployments.ts'
import { openEnvSnapshot } from '../registry/env-vars.ts'
import { AppError, codeOf } from '../registry/errors.ts'
import type { Mask } from '../registry/mask.ts'
import type { Key } from '../registry/secrets.ts'
import { sourceGone } from '../registry/sources.ts'
import type { BuildNetworks } from '../sandbox/network/build-network.ts'
import { spreadFolders } from '../sandbox/spread-folder.ts'
import type { BuildCaches } from './build-caches.ts'
import { hookEnv } from './hook-env.ts'
import type { HostNpm } from './host-npm.ts'
import { findMissingFiles, withMissing } from './missing-files.ts'
import { type Opened, openContext } from './open-context.ts'
import { unpack } from './source.ts'
import type { SourceTree } from './source-tree.ts'
import { buildUser, cacheFolderOf, type Standing, standingOf } from './standing.ts'
import { Workspace } from './workspace.ts'

export type OpenSourceDeps = {
  store: BundleStore
  config: Config
  key: Key
  npm: () => Promise<HostNpm>
  networks: BuildNetworks
  caches: BuildCaches
  log: StepLog
  mask: Mask
  /** Takes what is to be removed when the deployment has ended; users do not wait for it. */
  cleanup: AsyncDisposableStack
  signal: AbortSignal
}

/** `appEnv`: the app's variables that builds may see. */
export type OpenedSource = Opened & { appEnv: Record<string, string> }

/**
 * A deployment's source in a workspace of its own, called `name`, with its config read and its kind told; `quiet`: without a word in the log. `previous`
 * is the version that hooks are told of as the other one. Throws what is wrong with the source.
 */
export async function openSource(
  deployment: Deployment,
  { name, previous, quiet = false }: { name: string; previous: string | null; quiet?: boolean },
  deps: OpenSourceDeps,
): Promise<OpenedSource> {
  const { config, key, cleanup, log } = deps
  const { appId, environment, envSnapshot, options } = deployment
  const standing = standingOf(deployment)
  const user = await buildUser(config, appId, cacheFolderOf(standing))
  const caches = cleanup.use(await deps.caches.use(appId, { standing, user, afresh: options.clearCaches ?? false }))
  if (options.clearCaches) log.line(`       ${describeCleared(standing)} have kept is thrown away`)
  const workspace = cleanup.use(await openWorkspace(config.home, name, user))
  const tree = await fetchSource(deployment, workspace, deps)

  const scope = { app: appId, environment }
  const appEnv = openEnvSnapshot(envSnapshot, { scope, key, purpose: 'build' })
  const runEnv = openEnvSnapshot(envSnapshot, { scope, key, purpose: 'run' })
  const network = await deps.networks.lease((sentence) => log.output(`network: ${sentence}`))
  cleanup.defer(() => network.release())
  const places = { caches, toolsDir: deps.caches.tools }
  const missing = findMissingFiles(tree)
  const envs = { missing, appEnv, runEnv, hookEnv: hookEnv(deployment, previous, config) }
  const opened = await openContext(
    deployment,
    workspace,
    tree,
    { ...deps, ...envs, network, ...places },
    { quiet },
  ).catch((thrown: unknown) => {
    throw withMissing(thrown, missing)
  })
  cleanup.defer(async () => {
    if (opened.context.installer?.installer.hasRun) await deps.caches.markDownloads(caches)
  })
  return { ...opened, appEnv }
}

function describeCleared({ kind }: Standing): string {
  if (kind === 'fork') return 'what earlier builds of this fork'
  return kind === 'production' ? 'what earlier builds of the app' : 'what earlier builds of the app’s previews'
}

async function openWorkspace(home: string, name: string, user: Workspace['user']): Promise<Workspace> {
  const builds = join(home, 'builds')
  await mkdir(builds, { recursive: true })
  // Its folders have names nobody can guess or list.
  await chmod(builds, 0o711)
  await spreadFolders(builds)
  return Workspace.create(join(builds, name), user)
}

async function fetchSource(
  deployment: Deployment,
  workspace: Workspace,
  { store, config, signal }: OpenSourceDeps,
): Promise<SourceTree> {
  if (!deployment.sourceKey)
    throw new AppError('SOURCE_INVALID', `deployment ${deployment.id} has neither a source nor a build; push again`)
  const { files, checkoutMb } = config.pushLimits
  const archive = await store.get(deployment.sourceKey).catch((thrown: unknown) => {
    throw codeOf(thrown) === 'STORE_CORRUPT' ? sourceGone(deployment) : thrown
  })
  const limits = { files, bytes: checkoutMb * 1_048_576 }
  return unpack(archive, workspace.app, { limits, owner: workspace.owner, signal })
}
