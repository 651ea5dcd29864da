import type { Db } from './sql.ts'

// What a deployment is going to count on is held before it does, so that it is not thrown away in between.

/**
 * Says that a deployment is about to be made from this source; the store is asked for it afterwards. A source that is being removed is waited for and
 * is gone then, any other stays for a day at least.
 */
export async function holdSource(sql: Db, key: string): Promise<void> {
  await sql`delete from condemned_sources where key = ${key}`
}

/** Keeps a build from being pruned until the transaction ends, and then by whatever names it. False: it has been. */
export async function holdBuild(tx: Db, buildId: string | null): Promise<boolean> {
  const held = await tx`
    select id
    from builds
    where id = ${buildId}
      and pruned_at is null
    for share
  `
  return held.length > 0
}
