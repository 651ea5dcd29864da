import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Target } from './branches.ts'
import type { EnvSnapshot } from './env-vars.ts'
import type { Db } from './sql.ts'

/** What a build is made from. `sourceTree`: of the files alone, whatever their version is called; null: not known. */
export type BuildInputs = {
  version: string
  sourceTree: string | null
  target: Target
  env: EnvSnapshot
  /** Built for a fork: nobody else takes it, for what fed its caches is nobody's to vouch for. */
  fork?: boolean | undefined
}
/** `treeSha256` leaves the version out. */
export type InputDigests = { inputSha256: string; treeSha256: string | null }

/** What makes builds: of another version of the platform, or on another Node, the same files make another one. */
const builder = { platform: readPlatformVersion(), node: process.version, arch: process.arch }

/**
 * A build is told where it will be served (ATELIER_ENVIRONMENT, ATELIER_BRANCH): what was made for a preview is not taken for production
 * unless someone promotes it. Values are compared sealed: the same value set again counts as another one, which costs a build and never serves a wrong one.
 * `reads`: the variables that count; `run` is for a build that starts the app, whose pages may show those for run time only.
 */
export function digestInputs(
  { version, sourceTree, target, env, fork }: BuildInputs,
  { reads, by = builder }: { reads: 'build' | 'run'; by?: typeof builder },
): InputDigests {
  const values = Object.entries(env)
    .filter(([, entry]) => reads === 'run' || !entry.runtime_only)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  const digest = (source: string[]) =>
    createHash('sha256')
      .update(
        JSON.stringify([
          ...(fork ? ['fork'] : []),
          ...source,
          target.environment,
          target.branch,
          values,
          by.platform,
          by.node,
          by.arch,
        ]),
      )
      .digest('hex')
  return { inputSha256: digest([version]), treeSha256: sourceTree && digest(['tree', sourceTree]) }
}

/**
 * The newest build of an app from the same version, or from the same files where it could not tell the version; null: there is none. Each build is kept
 * under what it has read: the deployment's digests of either kind find it. It is not pruned before the transaction ends.
 */
export async function findReusableBuild(
  sql: Db,
  { app, version }: { app: string; version: string },
  digests: InputDigests[],
): Promise<{ id: string; version: string } | null> {
  const inputs = digests.map(({ inputSha256 }) => inputSha256)
  const trees = digests.flatMap(({ treeSha256 }) => treeSha256 ?? [])
  const [build] = await sql<{ id: string; version: string }[]>`
    select id, version
    from builds
    where app_id = ${app}
      and (version = ${version} and input_sha256 = any(${inputs}) or tree_sha256 = any(${trees}))
      and pruned_at is null
    order by created_at desc
    limit 1
    for share
  `
  return build ?? null
}

/** The newest build of an app from the same part of its repository, by any of its digests; null: there is none. */
export async function findBuildOfParts(
  sql: Db,
  { app, partsSha256 }: { app: string; partsSha256: string[] },
): Promise<{ id: string; version: string } | null> {
  const [build] = await sql<{ id: string; version: string }[]>`
    select id, version
    from builds
    where app_id = ${app}
      and parts_sha256 = any(${partsSha256})
      and pruned_at is null
    order by created_at desc
    limit 1
  `
  return build ?? null
}

/** The version a build was made of; null: it is gone. */
export async function readBuildVersion(sql: Db, buildId: string): Promise<string | null> {
  const [build] = await sql<{ version: string }[]>`select version from builds where id = ${buildId}`
  return build?.version ?? null
}

/** Where the same files are kept already, as the source of another commit of the app; null: nowhere. */
export async function findSource(
  sql: Db,
  { app, sourceTree }: { app: string; sourceTree: string },
): Promise<string | null> {
  const [kept] = await sql<{ sourceKey: string }[]>`
    select source_key
    from deployments
    where app_id = ${app}
      and source_tree = ${sourceTree}
      and source_key is not null
    order by created_at desc
    limit 1
  `
  return kept?.sourceKey ?? null
}

function readPlatformVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')
  return /"version": "([^"]+)"/.exec(text)?.[1] ?? 'unknown'
}
