import { createHash } from 'node:crypto'
import type { Claim } from '../registry/claims.ts'
import type { Manifest } from '../registry/manifest.ts'
import type { AppConfig } from './app-config.ts'
import type { BuildContext, BuildOutput } from './build-context.ts'
import { isSinglePage, type Page } from './pack-pages.ts'
import type { Plan } from './plan.ts'
import { publicNames } from './public-values.ts'
import type { ManifestFacts } from './publish.ts'
import type { SiteRules } from './site-rules.ts'

export type BuildParts = {
  claim: Claim
  build: string
  plan: Plan
  output: BuildOutput
  pages: Page[]
  rules: SiteRules
  context: BuildContext
  /** The app's variables that the build saw. */
  appEnv: Record<string, string>
  lockfile: string | null
}

const mostDependencies = 1000
const longestRange = 200

/** What the manifest says of a build besides its files. */
export function describeBuild({
  claim,
  build,
  plan,
  output,
  pages,
  rules,
  context,
  appEnv,
  lockfile,
}: BuildParts): ManifestFacts {
  const { config } = context.app
  const env = { ...config.build.env, ...appEnv }
  return {
    app_id: claim.appId,
    version: claim.version,
    build,
    framework: plan.framework,
    kind: output.kind,
    built_at: new Date().toISOString(),
    built_by: claim.createdBy,
    transforms_applied: output.transforms,
    git_sha: claim.gitSha,
    git_branch: claim.source === 'git' ? claim.branch : null,
    env_names: [...new Set([...Object.keys(env), ...Object.keys(claim.envSnapshot)])].sort(),
    public_env_hash: hashPublic(env),
    node_version: process.versions.node,
    dependencies: namedDependencies(context),
    lockfile_sha256: lockfile === null ? null : createHash('sha256').update(lockfile).digest('hex'),
    spa_fallback: output.fallback === 'single-page' && isSinglePage(pages),
    header_rules: rules.headers,
    redirects: rules.redirects,
    health: healthOf(config),
    drain_timeout_sec: config.deployments.drainTimeoutSec,
    max_isolates: config.deployments.maxIsolates ?? null,
    data: config.data,
    sleep_after_min: config.deployments.sleepAfterMin ?? null,
  }
}

/** A path that somebody chose must answer 2xx or 3xx; `/` only below 500, for an app may have nothing there. */
export function healthOf({ deployments: { healthCheck } }: AppConfig): Manifest['health'] {
  return { path: healthCheck.path ?? '/', timeout_sec: healthCheck.timeoutSec, strict: healthCheck.path !== undefined }
}

// What somebody may have written there has no end.
function namedDependencies({ app }: BuildContext): Record<string, string> {
  const named = Object.entries(app.pkg?.dependencies ?? {}).slice(0, mostDependencies)
  return Object.fromEntries(named.map(([name, range]) => [name.slice(0, longestRange), range.slice(0, longestRange)]))
}

// What may be in the bundle for every browser to read: the same hash, the same inlined values.
function hashPublic(env: Record<string, string>): string {
  const entries = publicNames(env).map((name) => [name, env[name]])
  return createHash('sha256').update(JSON.stringify(entries)).digest('hex')
}
