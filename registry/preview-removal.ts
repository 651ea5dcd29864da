import type { Db, Sql } from './sql.ts'

// The one way in which previews end. What is kept of one goes by its route: databases (app-databases.ts), folders and hosts (proxy/hosts/), caches of
// forks (build-workers/build-caches.ts) and builds (retention.ts) are removed by whoever keeps them, as soon as they see that it is gone.

/** Tears a preview down: its open deployments are cancelled, its live one ends `removed`, its address is gone. False: there was none, or `isDue`, asked when nobody can deploy to it any more, says no. */
export async function removePreview(
  sql: Sql,
  { app, branch, by, reason }: { app: string; branch: string; by: string; reason?: string },
  { isDue = async () => true }: { isDue?: (tx: Db) => Promise<boolean> } = {},
): Promise<boolean> {
  return sql.begin(async (tx) => {
    // `createDeployment` has the app to itself: it comes before, and is seen here, or after, and makes a new route.
    await tx`
      select id
      from apps
      where id = ${app}
      for no key update
    `
    const [route] = await tx<{ id: string }[]>`
      select id
      from routes
      where app_id = ${app}
        and branch = ${branch}
        and environment = 'preview'
      for update
    `
    if (!route || !(await isDue(tx))) return false
    await endPreview(tx, route.id, { by, reason: reason ?? `the branch ${branch} was deleted` })
    return true
  })
}

/**
 * B6: a fork's preview and the app's own of the same branch share nothing. The one that is there goes when the other comes, whichever was first, and what
 * comes finds an empty room. The caller has the app to itself.
 */
export async function makeRoom(
  tx: Db,
  { app, branch, isFork, by }: { app: string; branch: string; isFork: boolean; by: string },
): Promise<void> {
  const others = await tx<{ id: string }[]>`
    select id
    from routes
    where app_id = ${app}
      and branch = ${branch}
      and environment = 'preview'
      and is_fork <> ${isFork}
    for update
  `
  const reason = isFork ? "a fork's commit takes its place" : "the app's own commit takes its place"
  for (const { id } of others) await endPreview(tx, id, { by, reason })
}

async function endPreview(tx: Db, routeId: string, { by, reason }: { by: string; reason: string }): Promise<void> {
  await tx`
    update deployments
    set state = case when state in ('queued', 'building', 'built', 'uploading', 'canary') then 'cancelled' else 'removed' end,
        state_by = ${by},
        state_reason = ${reason}
    where route_id = ${routeId}
      and state not in ('failed', 'cancelled', 'removed')
  `
  await tx`delete from routes where id = ${routeId}`
}
