import { join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import type { Config } from '../registry/config.ts'
import type { Deployment } from '../registry/deployments.ts'
import { AppError } from '../registry/errors.ts'
import type { Mask } from '../registry/mask.ts'
import { shortVersion } from '../registry/version.ts'
import type { BuildNetwork } from '../sandbox/network/build-network.ts'
import { prepareRuntime } from '../sandbox/runtime.ts'
import { findAppParts } from './app-parts.ts'
import type { AppCaches } from './build-caches.ts'
import type { BuildContext } from './build-context.ts'
import { hostProxyEnv, relayEnv } from './build-egress.ts'
import { buildEnv } from './build-env.ts'
import { readConfigFile } from './config-file.ts'
import { detectFramework, whatIsLookedFor } from './framework.ts'
import { FrameworkCache } from './framework-cache.ts'
import { describeClash } from './hook-env.ts'
import type { HostNpm } from './host-npm.ts'
import { describeMissing, type MissingFiles } from './missing-files.ts'
import { describeNodeOf } from './node-version.ts'
import { type OpenedInstaller, openInstaller, toolBin } from './open-installer.ts'
import { readPackageJson } from './package-json.ts'
import { digestParts } from './parts-digest.ts'
import type { App, Plan } from './plan.ts'
import { describeProcfile } from './procfile.ts'
import { Programs } from './programs.ts'
import { type SourceTree, subtree } from './source-tree.ts'
import { describeDeployment, describePlace, namesVersion, runsHooks } from './told-version.ts'
import { describeUnbundled } from './transforms/client.ts'
import type { Workspace } from './workspace.ts'

export type OpenDeps = {
  config: Config
  npm: () => Promise<HostNpm>
  network: BuildNetwork
  caches: AppCaches
  /** Where fetched package managers are kept. */
  toolsDir: string
  log: StepLog
  /** The app's own variables that builds may see. */
  appEnv: Record<string, string>
  /** All of them. */
  runEnv: Record<string, string>
  hookEnv: Record<string, string>
  missing: MissingFiles
  mask: Mask
  signal: AbortSignal
}

export type Opened = { context: BuildContext; plan: Plan; lockfile: string | null }

/** Reads the app's config, decides how to build it, says so in the log unless it is `quiet`, and gathers what that needs. */
export async function openContext(
  claim: Deployment,
  workspace: Workspace,
  tree: SourceTree,
  deps: OpenDeps,
  { quiet = false }: { quiet?: boolean } = {},
): Promise<Opened> {
  const { config, log, signal, appEnv, runEnv, hookEnv, mask, network, missing, caches } = deps
  const runtime = await prepareRuntime(config.home)
  const programs = new Programs({
    workspace,
    limits: config.buildLimits,
    readable: [...runtime.paths, deps.toolsDir, caches.modules],
    writable: [caches.downloads],
    network,
    onLine: (line) => log.output(line),
    mask,
    signal,
  })
  const bins = [runtime.bin, toolBin(workspace)]
  const base = { home: workspace.home, tmp: workspace.tmp, downloads: caches.downloads, node: runtime.node }
  const isNamedAnywhere = namesVersion(tree)
  const atFirst = isNamedAnywhere ? describeDeployment(claim) : describePlace(claim)
  const configEnv = buildEnv({ ...base, npm: null, network: {}, bins, configEnv: atFirst, appEnv })
  const evaluation = { programs, home: config.home, node: runtime.node, app: workspace.app, env: configEnv }
  const appConfig = await readConfigFile(tree, evaluation)

  const root = appConfig.build.root ?? ''
  const app = readApp(tree, root, appConfig)
  const folder = join(workspace.app, root)
  const plan = detect(app)
  const npm = plan.transform === 'copy' ? null : await deps.npm()
  const folders = [...new Set([folder, workspace.app])].map((place) => join(place, 'node_modules/.bin'))
  const parts = findAppParts(tree, root, app.config.build.include)
  const isNamed = isNamedAnywhere && namesVersion(tree, parts.unused)
  const isToldVersion = isNamed || runsHooks(appConfig)
  const told = describeDeployment(claim)
  const given = { ...base, npm, bins: [...bins, ...folders] }
  const deployEnv = buildEnv({ ...given, network: {}, configEnv: { ...told, ...appConfig.build.env }, appEnv: runEnv })
  const env = buildEnv({
    ...given,
    configEnv: { ...(isToldVersion ? told : describePlace(claim)), ...appConfig.build.env },
    network: network.proxy ? relayEnv(network.proxy, npm?.registry ?? null) : hostProxyEnv(process.env),
    appEnv,
  })
  // NODE_ENV=production among the app's variables is meant for the app; installs for a build need devDependencies all the same.
  const { NODE_ENV: _, ...installEnv } = env
  const opened =
    npm === null
      ? null
      : await openInstaller(tree, root, {
          workspace,
          programs,
          runtime,
          env: installEnv,
          log,
          npm,
          toolsDir: deps.toolsDir,
          modulesDir: caches.modules,
          downloadsDir: caches.downloads,
          use: network.use,
        })
  const clash = describeClash(app.config, { ...appConfig.build.env, ...runEnv })
  if (!quiet)
    announce(claim, plan, {
      app,
      opened,
      log,
      node: plan.transform === 'copy' ? null : describeNodeOf(tree, root, process.versions.node),
      more: [...describeMissing(missing), clash, describeUnbundled(app, plan.transform)],
    })
  const frameworkCache = new FrameworkCache(caches.frameworks, {
    workspace,
    largestBytes: config.buildCaches.appMb * 1_048_576,
    say: (line) => log.output(line),
  })
  const partsSha256 = isToldVersion ? null : digestParts(claim, { tree, folder: workspace.app, root, parts })
  const envs = { env, isToldVersion, partsSha256, deployEnv, hookEnv }
  const context = {
    app,
    missing,
    parts,
    workspace,
    folder,
    root,
    installer: opened,
    programs,
    runtime,
    ...envs,
    frameworkCache,
    log,
  }
  return { context, plan, lockfile: readLockfile(tree, opened) }
}

function readApp(tree: SourceTree, root: string, config: App['config']): App {
  if (root && !tree.hasDirectory(root))
    throw new AppError('ENTRY_NOT_FOUND', `build.root in atelier.config is ${root}, and there is no such folder`)
  const part = subtree(tree, root)
  return { tree: part, pkg: readPackageJson(part), config }
}

function detect(app: App): Plan {
  try {
    return detectFramework(app)
  } catch (thrown) {
    if (!(thrown instanceof AppError) || thrown.code !== 'FRAMEWORK_UNKNOWN') throw thrown
    const lines = ['looked for:', ...whatIsLookedFor().map((what) => `- ${what}`)]
    throw new AppError('FRAMEWORK_UNKNOWN', [thrown.message, ...lines.map((line) => `  ${line}`)].join('\n'))
  }
}

type Announcement = {
  app: App
  opened: OpenedInstaller | null
  log: StepLog
  node: string | null
  more: (string | null)[]
}

function announce(claim: Deployment, plan: Plan, { app, opened, log, node, more }: Announcement): void {
  log.line(`-----> ${claim.appId} ${shortVersion(claim.version)} · ${plan.reason}`)
  const notes = [node, ...plan.notes, describeProcfile(app.tree), ...(opened?.notes ?? []), ...more]
  for (const note of notes) if (note) log.line(`       ${note}`)
}

function readLockfile(tree: SourceTree, opened: OpenedInstaller | null): string | null {
  const { lockfile = null } = opened?.manager ?? {}
  return opened && lockfile ? subtree(tree, opened.root).read(lockfile) : null
}
