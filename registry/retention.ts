import type { BundleStore } from './bundle-store/contract.ts'
import { blobKey, buildPrefix, serverKey } from './bundle-store/keys.ts'
import { forgetEncodings } from './encodings.ts'
import { hadUsersLately } from './retained.ts'
import type { Db, Sql } from './sql.ts'

const condemnedForHours = 24

type OldBuild = { id: string; appId: string; version: string }

/**
 * Lets go of builds nobody can go back to: those without a live or open deployment, or one that a rollout may return to, that are older than the
 * newest production versions of their app (as many as its newest build says), and those of removed previews. The rows stay (history names them),
 * their server code goes, and their static files when nobody has been given a page of theirs for a week.
 */
export async function pruneBuilds(sql: Sql, store: BundleStore): Promise<OldBuild[]> {
  const pruned = await sql.begin(async (tx) => {
    // Those that somebody is about to count on are passed over; the next statement sees what was decided while this one waited for its locks.
    const old = await tx<{ id: string }[]>`
      select id
      from builds
      where pruned_at is null
        and created_at < now() - interval '10 minutes'
        and id not in (${keptBuilds(tx)})
      order by id
      for update skip locked
    `
    return tx<OldBuild[]>`
      update builds
      set pruned_at = now()
      where id = any(${old.map(({ id }) => id)})
        and id not in (${keptBuilds(tx)})
      returning id, app_id, version
    `
  })
  for (const { id, appId, version } of pruned) await store.remove(serverKey({ app: appId, version, build: id }))
  await pruneFiles(sql, store)
  return pruned
}

function keptBuilds(sql: Db) {
  return sql`
    select build_id
    from (
      select d.build_id,
             row_number() over newest_first as age,
             first_value(b.keep_versions) over newest_first as keep_versions
      from deployments d
      join builds b on b.id = d.build_id
      where d.environment = 'production'
        and d.state in ('live', 'superseded', 'rolled_back')
      group by d.app_id, d.build_id, b.keep_versions
      window newest_first as (partition by d.app_id order by max(d.number) desc)
    ) by_age
    where age <= keep_versions
    union
    select build_id
    from deployments
    where build_id is not null
      and state in ('queued', 'building', 'built', 'uploading', 'canary', 'live')
    union
    select d.build_id
    from rollouts o
    join deployments d on d.id = o.from_deployment
    where o.ended_at is null
      and d.build_id is not null
  `
}

async function pruneFiles(sql: Sql, store: BundleStore): Promise<void> {
  const left = await sql<OldBuild[]>`
    update builds b
    set files_pruned_at = now()
    where b.pruned_at is not null
      and b.files_pruned_at is null
      and not exists (
        select from deployments d
        where d.build_id = b.id
          and ${hadUsersLately(sql)}
      )
    returning id, app_id, version
  `
  for (const build of left) await removeBundle(sql, store, build)
}

/**
 * Removes blobs no build refers to: condemned on one pass, removed on a later one at least 24 hours on, and only if still unreferenced. A build that
 * counts on one of them takes it from the condemned (`missingBlobs`): before it is removed, or when it is gone. Nobody else waits.
 */
export async function collectBlobs(sql: Sql, store: BundleStore): Promise<number> {
  const stored = (await store.list('blobs/'))
    .map((key) => key.slice('blobs/'.length))
    .filter((sha256) => /^[0-9a-f]{64}$/.test(sha256))
  await sql`
    insert into condemned_blobs (sha256)
    select sha256
    from unnest(${stored}::text[]) as given (sha256)
    where not exists (select from blob_refs r where r.sha256 = given.sha256)
      and not exists (select from condemned_blobs c where c.sha256 = given.sha256)
    order by sha256
    on conflict do nothing
  `
  await sql`
    delete from condemned_blobs c
    using (
      select sha256
      from condemned_blobs
      where exists (select from blob_refs r where r.sha256 = condemned_blobs.sha256)
      order by sha256
      for update skip locked
    ) referenced
    where c.sha256 = referenced.sha256
  `
  for (let collected = 0; ; ) {
    const some = await collectSome(sql, store)
    collected += some
    if (some < collectedAtOnce) return collected
  }
}

const collectedAtOnce = 500

async function collectSome(sql: Sql, store: BundleStore): Promise<number> {
  return sql.begin(async (tx) => {
    const collected = await tx<{ sha256: string }[]>`
      delete from condemned_blobs c
      using (
        select sha256
        from condemned_blobs
        where since < now() - make_interval(hours => ${condemnedForHours})
        order by sha256
        limit ${collectedAtOnce}
        for update skip locked
      ) due
      where c.sha256 = due.sha256
        and not exists (select from blob_refs r where r.sha256 = c.sha256)
      returning c.sha256
    `
    const digests = collected.map(({ sha256 }) => sha256)
    await forgetEncodings(tx, digests)
    await store.remove(digests.map(blobKey))
    return collected.length
  })
}

/** Removes what deleted apps have left in the store, and forgets what builds that came to nothing counted on. Returns the apps' names. */
export async function collectDeletedApps(sql: Sql, store: BundleStore): Promise<string[]> {
  const keys = [...(await store.list('builds/')), ...(await store.list('sources/'))]
  const stored = [...new Set(keys.map(appOf))]
  const rows = await sql<{ app: string }[]>`
    select app
    from unnest(${stored}::text[]) as given (app)
    where not exists (select from apps where id = app)
  `
  const deleted = rows.map(({ app }) => app)
  await store.remove(keys.filter((key) => deleted.includes(appOf(key))))
  await sql`
    delete from blob_refs r
    where at < now() - interval '1 day'
      and not exists (select from builds where id = r.build_id)
  `
  return deleted
}

/** Lets go of the blobs of a build whose files are pruned; what no other build refers to is collected in time. */
export async function dropBlobRefs(sql: Db, buildId: string): Promise<void> {
  await sql`delete from blob_refs where build_id = ${buildId}`
}

// builds/<app>/… and sources/<app>/…
function appOf(key: string): string {
  return key.split('/')[1] ?? ''
}

async function removeBundle(sql: Db, store: BundleStore, build: OldBuild): Promise<void> {
  const keys = await store.list(buildPrefix({ app: build.appId, version: build.version, build: build.id }))
  await store.remove(keys)
  await dropBlobRefs(sql, build.id)
}
