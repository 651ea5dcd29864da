import type { BundleStore } from './bundle-store/contract.ts'
import { blobKey, buildPrefix } from './bundle-store/keys.ts'
import type { Db, Sql } from './sql.ts'

const keptVersions = 10
const condemnedForHours = 24

type OldBuild = { id: string; appId: string; version: string }

/**
 * Lets go of builds nobody can go back to: those without a live or open deployment that are older than the newest ten production versions
 * of their app, and those of removed previews. The rows stay (history names them), their bundles go.
 */
export async function pruneBuilds(sql: Sql, store: BundleStore): Promise<OldBuild[]> {
  const pruned = await sql<OldBuild[]>`
    with kept as (
      select build_id
      from (
        select build_id, row_number() over (partition by app_id order by max(number) desc) as age
        from deployments
        where environment = 'production'
          and state in ('live', 'superseded', 'rolled_back')
          and build_id is not null
        group by app_id, build_id
      ) by_age
      where age <= ${keptVersions}
      union
      select build_id
      from deployments
      where build_id is not null
        and state in ('queued', 'building', 'built', 'uploading', 'canary', 'live')
    )
    update builds
    set pruned_at = now()
    where pruned_at is null
      and created_at < now() - interval '10 minutes'
      and id not in (select build_id from kept)
    returning id, app_id, version
  `
  for (const build of pruned) await removeBundle(sql, store, build)
  return pruned
}

/**
 * Removes blobs no build refers to: condemned on one pass, removed on a later one at least 24 hours on, and only if still unreferenced
 * under a lock that keeps new references out.
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
    on conflict do nothing
  `
  return sql.begin(async (tx) => {
    await tx`lock table blob_refs in share mode`
    await tx`
      delete from condemned_blobs c
      using blob_refs r
      where r.sha256 = c.sha256
    `
    const collected = await tx<{ sha256: string }[]>`
      delete from condemned_blobs
      where since < now() - make_interval(hours => ${condemnedForHours})
      returning sha256
    `
    for (const { sha256 } of collected) await store.remove(blobKey(sha256))
    return collected.length
  })
}

async function removeBundle(sql: Db, store: BundleStore, build: OldBuild): Promise<void> {
  const keys = await store.list(buildPrefix({ app: build.appId, version: build.version, build: build.id }))
  for (const key of keys) await store.remove(key)
  await sql`delete from blob_refs where build_id = ${build.id}`
}
