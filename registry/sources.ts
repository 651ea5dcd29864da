import type { BundleStore } from './bundle-store/contract.ts'
import { type Deployment, openStates } from './deployments.ts'
import { AppError } from './errors.ts'
import { holdSource } from './holds.ts'
import { nameOf } from './live.ts'
import type { Db, Sql } from './sql.ts'
import { parseVersion } from './version.ts'

const condemnedForHours = 24
const removedAtOnce = 500

/** Throws VERSION_PRUNED when there is nothing any more that the deployment could be built from again. */
export async function refuseIfSourceGone(sql: Db, store: BundleStore, deployment: Deployment): Promise<void> {
  const { sourceKey } = deployment
  if (!sourceKey) throw sourceGone(deployment)
  await holdSource(sql, sourceKey)
  if (!(await store.has([sourceKey])).has(sourceKey)) throw sourceGone(deployment)
}

/** What is said of a deployment whose source is not there any more. */
export function sourceGone(deployment: Deployment): AppError {
  const isCommit = parseVersion(deployment.version).kind === 'sha'
  const again = isCommit ? 'push that commit again' : 'deploy its folder again, as another version'
  return new AppError(
    'VERSION_PRUNED',
    `${deployment.appId} no longer keeps the source of ${nameOf(deployment)}; ${again}`,
  )
}

/** Whether a version has been given this name before, be its source kept or not. */
export async function isVersionTaken(sql: Db, { app, version }: { app: string; version: string }): Promise<boolean> {
  const named = await sql`
    select id
    from deployments
    where app_id = ${app}
      and version = ${version}
    limit 1
  `
  return named.length > 0
}

/**
 * Removes the sources that nothing will be made from again: neither a build under way nor one of a version that is kept (which may be deployed,
 * promoted or rolled back to), and no hook that waits. Condemned on one pass, removed on a later one at least 24 hours on. Returns how many.
 */
export async function pruneSources(sql: Sql, store: BundleStore): Promise<number> {
  const stored = await store.list('sources/')
  await sql`
    insert into condemned_sources (key)
    select key
    from unnest(${stored}::text[]) as given (key)
    where not ${isNeeded(sql)}
      and not exists (select from condemned_sources c where c.key = given.key)
    order by key
    on conflict do nothing
  `
  await sql`
    delete from condemned_sources given
    where ${isNeeded(sql)}
  `
  for (let removed = 0; ; ) {
    const some = await removeSome(sql, store)
    removed += some
    if (some < removedAtOnce) return removed
  }
}

// Of the given keys each is the lock: who counts on it again (`holdSource`, `createDeployment`) waits until it is gone, or is not waited for.
async function removeSome(sql: Sql, store: BundleStore): Promise<number> {
  return sql.begin(async (tx) => {
    const gone = await tx<{ key: string }[]>`
      delete from condemned_sources given
      using (
        select key
        from condemned_sources
        where since < now() - make_interval(hours => ${condemnedForHours})
        order by key
        limit ${removedAtOnce}
        for update skip locked
      ) due
      where given.key = due.key
        and not ${isNeeded(tx)}
      returning given.key
    `
    await store.remove(gone.map(({ key }) => key))
    return gone.length
  })
}

// Of a source `given.key`.
function isNeeded(sql: Db) {
  return sql`exists (
    select
    from deployments d
    left join builds b on b.id = d.build_id
    where d.source_key = given.key
      and (
        d.state = any(${[...openStates, 'live']})
        or b.id is not null and b.pruned_at is null
        or exists (
          select
          from hook_runs h
          where h.deployment_id = d.id
            and h.state in ('waiting', 'running')
        )
      )
  )`
}
