import { join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import type { Claim } from '../registry/claims.ts'
import { appUrl } from '../registry/config.ts'
import { openEnvSnapshot } from '../registry/env-vars.ts'
import type { Manifest } from '../registry/manifest.ts'
import { cover, type Mask } from '../registry/mask.ts'
import { PathPattern } from '../registry/path-pattern.ts'
import type { RouteList } from '../registry/route-list.ts'
import { shortVersion } from '../registry/version.ts'
import type { Runs } from '../sandbox/isolate/isolate.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import { removeAs } from '../sandbox/remove-as.ts'
import { leaseUser, type SandboxUser } from '../sandbox/users.ts'
import { emptyData } from './app-data.ts'
import type { BuildContext, BuildOutput } from './build-context.ts'
import { listStaticPaths } from './listed-paths.ts'
import type { MakeDeps } from './make-build.ts'
import { healthOf } from './manifest-facts.ts'
import { isSinglePage, type Page } from './pack-pages.ts'
import type { PackedServer } from './pack-server.ts'
import { type PrerenderDeps, prerender, type StaticPaths } from './prerender.ts'
import type { Packed } from './publish.ts'
import { sampleRoutes } from './route-sample.ts'
import { fromAppRoutes } from './routes/app-routes.ts'
import type { FoundRoute, Scan } from './routes/route-set.ts'
import { listRoutes, showRoutes } from './routes/scan.ts'
import type { SiteRules } from './site-rules.ts'
import { TrialHost } from './trial-host.ts'
import { verifyPages, verifyServer } from './verify.ts'

/** How it ran when it was proved is how it will run. */
export type Proved = { kind: BuildOutput['kind']; packed: Packed; routes: RouteList }

export type ProveParts = {
  /** What was read of its routes without asking it. */
  scan: Scan
  framework: string
  output: BuildOutput
  context: BuildContext
  /** The one the app was given. */
  database: DatabaseAccess | null
  deps: MakeDeps
}

/** Proves what was packed before it has users: a site by its files, an app by starting it. */
export async function prove(claim: Claim, packed: Packed & { rules: SiteRules }, parts: ProveParts): Promise<Proved> {
  const { pages, server, rules } = packed
  const { scan, framework, output, context, database, deps } = parts
  const { log, cleanup } = deps
  const { routes: settings } = context.app.config.deployments.healthCheck
  const runs = server && runsOf(output.kind, server)
  if (!runs) {
    const routes = listRoutes(scan, { framework, pages, ofApp: null })
    await showRoutes(routes, { log })
    for (const line of describeUnrendered(context)) log.line(line)
    await verifyPages(pages, {
      ...{ folder: output.pages[0]?.from ?? '', log },
      listed: settings === false ? [] : settings.paths,
      isAnswered: (path) => isSinglePageApp(output, pages) || isRedirected(path, rules),
    })
    return { kind: output.kind, packed, routes }
  }

  const user = await leaseUser(deps.config, { purpose: 'app', app: claim.appId })
  const folder = context.workspace.beside('verify-data')
  const dataDir = context.app.config.data ? await emptyData(folder, user) : undefined
  if (dataDir) cleanup.defer(() => removeAs(user, [dataDir], context.workspace.root))
  const host = await openTrial(claim, { runs, server, user, dataDir }, parts)
  cleanup.defer(() => host.close())
  let { staticPaths = null } = packed
  const all = [...pages]
  let routes: RouteList
  try {
    const { config, appNetworks } = deps
    const listed = await listStaticPaths(context, output, { home: config.home, appNetworks, database })
    if (listed.length > 0) {
      const rendered = await prerender(listed, prerenderDeps(host, pages, { claim, context, deps }))
      all.push(...rendered.pages)
      staticPaths = maskedPaths(rendered.paths, deps.mask)
    }
    const health = healthOf(context.app.config)
    const ofApp = await askForRoutes(host, { health, log, mask: deps.mask })
    routes = listRoutes(scan, { framework, pages: all, ofApp })
    await showRoutes(routes, { log })
    const sample = sampleRoutes(routes, {
      ...{ settings, health: health.path, published: all },
      isAnswered: (path) => isRedirected(path, rules),
    })
    await verifyServer(host, { health, sample, isWithoutData: dataDir !== undefined, log })
  } finally {
    // Users do not wait for its end.
    void host.close()
  }
  const start = host.runs.kind === 'process' ? { command: host.runs.command, folder: host.runs.folder } : null
  const sorted = all.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { kind: host.runs.kind, packed: { pages: sorted, staticPaths, server: { ...server, start } }, routes }
}

// The list is not what verification is about: an app that does not start is told in its step.
async function askForRoutes(
  host: TrialHost,
  { health, log, mask }: { health: Manifest['health']; log: StepLog; mask: Mask },
): Promise<FoundRoute[] | null> {
  if (host.runs.kind !== 'fetch') return null
  try {
    const said = await host.use(
      () => host.routes(),
      (text) => log.line(`       ${text}`),
    )
    // A webhook's address may be a secret, and the list is shown.
    return said && fromAppRoutes(said).map((route) => ({ ...route, path: cover(route.path, 0, mask.find(route.path)) }))
  } catch (thrown) {
    return log.step('Verifying', `GET ${health.path}`, () => Promise.reject(thrown))
  }
}

// Where an answer leads is among the reasons why it is no page.
function maskedPaths({ pages, left_to_app }: StaticPaths, mask: Mask): StaticPaths {
  return { pages, left_to_app: left_to_app.map(({ path, reason }) => ({ path, reason: mask.line(reason) })) }
}

function isSinglePageApp({ fallback }: BuildOutput, pages: Page[]): boolean {
  return fallback === 'single-page' && isSinglePage(pages)
}

function isRedirected(path: string, { redirects }: SiteRules): boolean {
  const plain = path.replace(/[?#].*$/, '')
  return redirects.some(({ from, status }) => status !== 404 && new PathPattern(from).match(plain) !== null)
}

function prerenderDeps(
  host: TrialHost,
  published: Page[],
  { claim, context, deps: { config, log, signal } }: { claim: Claim } & Pick<ProveParts, 'context' | 'deps'>,
): PrerenderDeps {
  const { static: wanted } = context.app.config.build
  return {
    ...{ host, published, log, signal, workspace: context.workspace },
    concurrent: wanted?.concurrent ?? 4,
    pageMs: (wanted?.timeoutSec ?? 30) * 1000,
    protocol: new URL(appUrl(config, claim.label)).protocol === 'https:' ? 'https' : 'http',
    mostBytes: config.buildLimits.diskMb * 1_048_576,
    mostMs: config.buildLimits.timeoutMs,
  }
}

// A site has nobody to ask for a page.
function describeUnrendered({ app }: BuildContext): string[] {
  const { static: wanted } = app.config.build
  const isWanted = wanted?.enabled && wanted.paths.length > 0
  return isWanted
    ? ['       build.static.paths is left out: a static site has its pages, and no server to render more']
    : []
}

async function openTrial(
  claim: Claim,
  { runs, server, user, dataDir }: { runs: Runs; server: PackedServer; user: SandboxUser; dataDir: string | undefined },
  { output, context, database, deps: { config, key, signal, appNetworks } }: ProveParts,
): Promise<TrialHost> {
  const scope = { app: claim.appId, environment: claim.environment }
  return new TrialHost(
    {
      name: `${claim.appId} ${shortVersion(claim.version)}`,
      home: config.home,
      runs,
      mayBeProcess: output.kind === 'server' && context.app.config.build.kind !== 'server',
      packed: server,
      directory: context.workspace.beside('verify'),
      socketPath: join(config.runDir, 'i', `${claim.id}.v${claim.attempt}.sock`),
      env: openEnvSnapshot(claim.envSnapshot, { scope, key, purpose: 'run' }),
      database,
      dataDir,
      user,
      memoryMb: config.appLimits.memoryMb,
      processes: config.appLimits.processes,
      host: new URL(appUrl(config, claim.label)).host,
    },
    { signal, appNetworks },
  )
}

function runsOf(kind: BuildOutput['kind'], { entry, start }: PackedServer): Runs | null {
  if (kind === 'process') return start && { kind, ...start }
  return kind !== 'static' && entry !== null ? { kind, entry } : null
}
