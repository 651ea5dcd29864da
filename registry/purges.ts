import { setTimeout as pause } from 'node:timers/promises'
import { leaseSec } from './edges.ts'
import { newId } from './ids.ts'
import type { Db } from './sql.ts'

/**
 * What edges are to forget of an app's answers. A path counts with every query, one that has a query for itself, one that ends in `*` for
 * all below; `all` for everything of the app.
 */
export type Purge = { app: string; all: boolean; tags: string[]; paths: string[] }
export type PurgeRow = Purge & { id: string; by: string; at: Date }

const keptForDays = 30

export async function insertPurge(sql: Db, { app, all, tags, paths, by }: Purge & { by: string }): Promise<PurgeRow> {
  const [row] = await sql<PurgeRow[]>`
    insert into purges (id, app_id, tags, paths, everything, by)
    values (${newId()}, ${app}, ${tags}, ${paths}, ${all}, ${by})
    returning id, app_id as app, to_jsonb(tags) as tags, to_jsonb(paths) as paths, everything as all, by, at
  `
  if (!row) throw new Error('the purge was not inserted')
  return row
}

/**
 * The purges that were not there yet in the snapshot in which an edge last read them, and the snapshot of now. `purges` null: that cannot be
 * told, for the edge has never read them or the database is another one; everything is to be forgotten. A row whose transaction has yet to come was
 * made in another database, and came here with a backup.
 */
export async function readPurges(sql: Db, since: string | null): Promise<{ purges: Purge[] | null; snapshot: string }> {
  const [read] = await sql<{ purges: Purge[]; snapshot: string; isKnown: boolean }[]>`
    select pg_current_snapshot()::text as snapshot,
           coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= pg_snapshot_xmin(${since}::pg_snapshot), false) as is_known,
           coalesce(
             (
               select jsonb_agg(
                 jsonb_build_object('app', app_id, 'all', everything, 'tags', tags, 'paths', paths)
                 order by at
               )
               from purges
               where made_in >= pg_snapshot_xmin(${since}::pg_snapshot)
                 and not pg_visible_in_snapshot(made_in, ${since}::pg_snapshot)
                 and pg_visible_in_snapshot(made_in, pg_current_snapshot())
             ),
             '[]'
           ) as purges
  `
  if (!read) throw new Error('no snapshot was read')
  return { purges: read.isKnown ? read.purges : null, snapshot: read.snapshot }
}

/** This edge has forgotten all that was purged up to this snapshot. */
export async function reportPurgesSeen(sql: Db, edgeId: string, snapshot: string): Promise<void> {
  await sql`
    insert into edges (id, purges_seen)
    values (${edgeId}, ${snapshot}::pg_snapshot)
    on conflict (id) do update
    set purges_seen = excluded.purges_seen
  `
}

const lookEveryMs = 10

/**
 * Resolves when every edge with a live lease has forgotten what this purge names; after `timeoutMs` in any case. Returns how many edges have,
 * and how many have not said so.
 */
export async function awaitPurgeSeen(
  sql: Db,
  purgeId: string,
  { timeoutMs = 6_000 }: { timeoutMs?: number } = {},
): Promise<{ edges: number; missing: number }> {
  for (const startedAt = performance.now(); ; await pause(lookEveryMs)) {
    const [seen] = await sql<{ edges: number; missing: number }[]>`
      select count(*) filter (where is_seen)::int as edges,
             count(*) filter (where not is_seen)::int as missing
      from (
        select coalesce(pg_visible_in_snapshot(p.made_in, e.purges_seen), false) as is_seen
        from edges e, purges p
        where p.id = ${purgeId}
          and e.seen_at > now() - make_interval(secs => ${leaseSec})
      ) by_edge
    `
    if (!seen || seen.missing === 0 || performance.now() - startedAt > timeoutMs)
      return seen ?? { edges: 0, missing: 0 }
  }
}

/** Purges are history after a moment; that is kept for a month. */
export async function prunePurges(sql: Db): Promise<void> {
  await sql`delete from purges where at < now() - make_interval(days => ${keptForDays})`
}
