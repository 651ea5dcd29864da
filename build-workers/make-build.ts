import type { StepLog } from '../registry/build-logs.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import type { Claim } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { type DeployCommands, readLiveVersion } from '../registry/deploy-commands.ts'
import { AppError } from '../registry/errors.ts'
import { newId } from '../registry/ids.ts'
import type { Mask } from '../registry/mask.ts'
import { findBuildOfParts } from '../registry/reusable-builds.ts'
import type { RolloutPolicy } from '../registry/rollout-policy.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import { offerModules } from '../registry/unpacked-modules.ts'
import { shortVersion } from '../registry/version.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { BuildNetworks } from '../sandbox/network/build-network.ts'
import { announceData } from './app-data.ts'
import { provideDatabase } from './app-database.ts'
import type { BuildCaches } from './build-caches.ts'
import type { BuildContext, BuildOutput } from './build-context.ts'
import { deployCommands, provisionOf, runBeforeDeploy } from './deploy-commands.ts'
import { EncodingMemory } from './encodings.ts'
import type { HostNpm } from './host-npm.ts'
import { describeBuild } from './manifest-facts.ts'
import { refusePointers, withMissing } from './missing-files.ts'
import { type OpenedSource, openSource } from './open-source.ts'
import { packPages } from './pack-pages.ts'
import { packServer } from './pack-server.ts'
import type { Plan } from './plan.ts'
import { prove } from './prove.ts'
import { type Packed, type Published, publish } from './publish.ts'
import { scanRoutes } from './routes/scan.ts'
import { type SiteRules, takeSiteRules } from './site-rules.ts'
import { copyStatic } from './transforms/copy.ts'
import { buildFetchApp } from './transforms/fetch.ts'
import { buildKit } from './transforms/kit.ts'
import { buildNext } from './transforms/next.ts'
import { buildProcess } from './transforms/process.ts'
import { buildByScript } from './transforms/script.ts'
import { buildNodeServer } from './transforms/server.ts'
import { buildSite } from './transforms/site.ts'

export type MakeDeps = {
  sql: Sql
  store: BundleStore
  config: Config
  key: Key
  npm: () => Promise<HostNpm>
  networks: BuildNetworks
  caches: BuildCaches
  appNetworks: Promise<AppNetworks>
  log: StepLog
  /** The log so far. */
  logText: () => string
  /** Keeps values out of the log from now on. */
  hide: (secrets: Record<string, string>) => void
  mask: Mask
  /** Takes what is to be removed when the deployment has ended; users do not wait for it. */
  cleanup: AsyncDisposableStack
  signal: AbortSignal
}

export type MadeBuild = Published & {
  id: string
  kind: string
  framework: string
  publicEnvHash: string
  isToldVersion: boolean
  readsRunEnv: boolean
  partsSha256: string | null
  keepVersions: number
  rolloutPolicy: RolloutPolicy | 'skip' | null
  deployCommands: DeployCommands
}

/** A build of another version that would come out the same. */
export type BuiltBefore = { builtBefore: string }

/** Where the deployment moves on; each throws when the attempt is no longer this worker's. */
export type Milestones = { built(): Promise<void>; uploading(): Promise<void> }

/**
 * Makes a stored bundle from a deployment's source: unpack, detect, install, build, pack, run what comes before a deploy, verify,
 * upload. Nothing of it is done for an app in a monorepo of which nothing it uses has changed since one of its builds.
 */
export async function makeBuild(
  claim: Claim,
  milestones: Milestones,
  deps: MakeDeps,
): Promise<MadeBuild | BuiltBefore> {
  const startedAt = performance.now()
  const previous = await readLiveVersion(deps.sql, claim)
  const opened = await openSource(claim, { name: claim.id, previous }, deps)
  try {
    return await makeFrom(opened, claim, milestones, { ...deps, startedAt })
  } catch (thrown) {
    throw withMissing(thrown, opened.context.missing)
  }
}

async function makeFrom(
  { context, plan, lockfile, appEnv }: OpenedSource,
  claim: Claim,
  milestones: Milestones,
  deps: MakeDeps & { startedAt: number },
): Promise<MadeBuild | BuiltBefore> {
  const { config, startedAt } = deps
  const before = await findUnchanged(claim, context, deps)
  if (before) return { builtBefore: before }
  await announceData(context.app.config.data, deps)
  const output = await runPlan(plan, context)
  const packed = await pack(output, context, config)
  refusePointers(packed.pages, context.missing)
  const { rules } = packed
  const scan = scanRoutes(plan, context)
  const database = await provideDatabase(claim, { wanted: provisionOf(context.app.config.database), deps })
  await runBeforeDeploy(claim.id, context, { ...deps, database })
  const proved = await prove(claim, packed, { scan, framework: plan.framework, output, context, database, deps })
  await milestones.built()

  await milestones.uploading()
  const name = { app: claim.appId, version: claim.version, build: newId() }
  const facts = describeBuild({
    claim,
    build: name.build,
    plan,
    output: { ...output, kind: proved.kind },
    lockfile,
    appEnv,
    context,
    pages: packed.pages,
    rules,
  })
  const readsRunEnv = Boolean(proved.packed.staticPaths)
  const memory = await EncodingMemory.open(deps.caches.encodings(claim.appId))
  const published = await publish(
    proved.packed,
    { name, facts, routes: proved.routes, startedAt, logText: deps.logText },
    { ...deps, memory },
  )
  const modules = packed.server?.modules
  if (modules) await offerModules(config.home, claim.appId, modules)
  return {
    ...published,
    id: name.build,
    kind: facts.kind,
    framework: facts.framework,
    publicEnvHash: facts.public_env_hash,
    isToldVersion: context.isToldVersion,
    readsRunEnv,
    partsSha256: context.partsSha256?.[readsRunEnv ? 'run' : 'build'] ?? null,
    keepVersions: context.app.config.deployments.keepVersions,
    rolloutPolicy: context.app.config.deployments.canary ?? null,
    deployCommands: deployCommands(context.app.config),
  }
}

async function findUnchanged(
  { appId: app, options }: Claim,
  { partsSha256, root }: BuildContext,
  { sql, log }: MakeDeps,
): Promise<string | null> {
  const before =
    partsSha256 && !options.forceBuild
      ? await findBuildOfParts(sql, { app, partsSha256: Object.values(partsSha256) })
      : null
  if (!before) return null
  log.line(
    `       nothing that ${root} uses has changed since ${shortVersion(before.version)}, built before: nothing to build`,
  )
  return before.id
}

function runPlan(plan: Plan, context: BuildContext): Promise<BuildOutput> | BuildOutput {
  switch (plan.transform) {
    case 'copy':
      return copyStatic(context, plan.root)
    case 'site':
      return buildSite(context, plan)
    case 'next':
      return buildNext(context, plan)
    case 'kit':
      return buildKit(context, plan)
    case 'bundle':
      return buildFetchApp(context, plan.entry)
    case 'server':
      return buildNodeServer(context, plan)
    case 'process':
      return buildProcess(context, plan)
    case 'script':
      return buildByScript(context, plan)
  }
}

const maxPages = 100_000

async function pack(
  { kind, pages: parts, server }: BuildOutput,
  { workspace, log }: BuildContext,
  config: Config,
): Promise<Packed & { rules: SiteRules }> {
  const uid = workspace.user.uid
  const found = await packPages(parts, { uid, maxFiles: maxPages })
  const { pages, rules } = await takeSiteRules(found, { kind, log })
  const packed = {
    ...{ pages, rules },
    server: server && (await packServer(server, workspace.beside('server.tar.zst'), { uid })),
  }
  const bytes = packed.pages.reduce((sum, page) => sum + page.size, 0)
  if (bytes > config.buildLimits.diskMb * 1_048_576)
    throw new AppError(
      'BUILD_LIMIT',
      `the build left more than ${config.buildLimits.diskMb} MB (ATELIER_BUILD_DISK_MB on the server)`,
    )
  return packed
}
