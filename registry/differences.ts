import { readManifest } from './bundle-store/bundles.ts'
import type { BundleStore } from './bundle-store/contract.ts'
import type { Commit, Deployment } from './deployments.ts'
import { openEnvSnapshot } from './env-vars.ts'
import { AppError } from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { Key } from './secrets.ts'
import type { Db } from './sql.ts'
import { shortVersion } from './version.ts'

/** What one of two has and the other has not, and what both have and is not the same. */
export type Changes<T> = { added: T[]; removed: T[]; changed: T[] }
/** Bytes; null where there is none. */
export type Sizes = { name: string; from: number | null; to: number | null }

/** What differs between two built versions of an app; of variables only the names. */
export type Differences = {
  /** Those that the edge serves. */
  files: Changes<Sizes>
  /** Null: neither has any. */
  serverCode: { from: number | null; to: number | null; isChanged: boolean } | null
  routes: Omit<Changes<string>, 'changed'>
  env: Changes<string>
  /** As package.json asks for them: the ranges. */
  dependencies: Changes<{ name: string; from: string | null; to: string | null }>
  isLockfileChanged: boolean
  /** Of pushes from the older one to the newer one, the newest first. */
  commits: Commit[]
}

/** Reads both bundles' manifests. Throws VERSION_PRUNED, STORE_UNAVAILABLE and STORE_CORRUPT. */
export async function readDifferences(
  sql: Db,
  { store, key }: { store: BundleStore; key: Key },
  from: Deployment,
  to: Deployment,
): Promise<Differences> {
  const [before, after] = await Promise.all([from, to].map((deployment) => readManifestOf(sql, store, deployment)))
  if (!before || !after) throw new AppError('INTERNAL', 'two manifests were asked for')
  const env = compare(...pair([from, to], (deployment) => valuesOf(deployment, key)))
  const routes = compare(...pair([before, after], routesOf))
  const { added, removed, changed } = compare(...pair([before, after], filesOf))
  const sizes = ({ name, from, to }: Change<{ size: number }>): Sizes => ({
    name,
    from: from?.size ?? null,
    to: to?.size ?? null,
  })
  return {
    files: { added: added.map(sizes), removed: removed.map(sizes), changed: changed.map(sizes) },
    serverCode: serverCodeOf(before, after),
    routes: { added: namesOf(routes.added), removed: namesOf(routes.removed) },
    env: { added: namesOf(env.added), removed: namesOf(env.removed), changed: namesOf(env.changed) },
    dependencies: compare(...pair([before, after], ({ dependencies }) => new Map(Object.entries(dependencies)))),
    isLockfileChanged: before.lockfile_sha256 !== after.lockfile_sha256,
    commits: await readCommitsBetween(sql, from, to),
  }
}

/** The manifest of a deployment's build. Throws VERSION_PRUNED, STORE_UNAVAILABLE and STORE_CORRUPT. */
export async function readManifestOf(
  sql: Db,
  store: BundleStore,
  { appId, version, buildId }: Deployment,
): Promise<Manifest> {
  const [build] = await sql<{ key: string; sha256: string; isPruned: boolean }[]>`
    select manifest_key as key, manifest_sha256 as sha256, pruned_at is not null as is_pruned
    from builds
    where id = ${buildId}
  `
  if (!build || build.isPruned)
    throw new AppError(
      'VERSION_PRUNED',
      `${shortVersion(version)} is no longer kept; see: atelier deploys --app ${appId}`,
    )
  return readManifest(store, build)
}

type Change<T> = { name: string; from: T | null; to: T | null }

function compare<T>(before: Map<string, T>, after: Map<string, T>): Changes<Change<T>> {
  const changes: Changes<Change<T>> = { added: [], removed: [], changed: [] }
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [from = null, to = null] = [before.get(name), after.get(name)]
    if (from === null) changes.added.push({ name, from, to })
    else if (to === null) changes.removed.push({ name, from, to })
    else if (JSON.stringify(from) !== JSON.stringify(to)) changes.changed.push({ name, from, to })
  }
  return changes
}

function pair<S, T>([one, other]: [S, S], read: (from: S) => T): [T, T] {
  return [read(one), read(other)]
}

function namesOf(changes: { name: string }[]): string[] {
  return changes.map(({ name }) => name)
}

function filesOf({ files }: Manifest) {
  return new Map(files.map(({ path, size, sha256 }) => [path, { size, sha256 }]))
}

function routesOf({ routes: { pages, api } }: Manifest): Map<string, true> {
  return new Map([...pages, ...api].map((path) => [path, true]))
}

// Opened, for the same value set again is another one as long as it is sealed.
function valuesOf({ appId, environment, envSnapshot }: Deployment, key: Key): Map<string, string> {
  const scope = { app: appId, environment }
  return new Map(Object.entries(openEnvSnapshot(envSnapshot, { scope, key, purpose: 'run' })))
}

function serverCodeOf({ server: from }: Manifest, { server: to }: Manifest): Differences['serverCode'] {
  if (!from && !to) return null
  return { from: from?.size ?? null, to: to?.size ?? null, isChanged: from?.sha256 !== to?.sha256 }
}

// Each push brought those that were new to what was live then.
async function readCommitsBetween(sql: Db, from: Deployment, to: Deployment): Promise<Commit[]> {
  const [older, newer] = from.number < to.number ? [from, to] : [to, from]
  const rows = await sql<{ commits: Commit[] }[]>`
    select commits
    from deployments
    where app_id = ${newer.appId}
      and branch = ${newer.branch}
      and number > ${older.number}
      and number <= ${newer.number}
      and commits is not null
    order by number desc
  `
  const seen = new Map(rows.flatMap(({ commits }) => commits).map((commit) => [commit.sha, commit]))
  return [...seen.values()]
}
