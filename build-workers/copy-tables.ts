import { pipeline } from 'node:stream/promises'
import type pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'

/** What of a database is no part of its schema; names are written as SQL writes them. `rows`: what `copy … to` takes. */
export type Contents = { tables: { name: string; rows: string }[]; sequences: string[] }

/**
 * Every table with rows of its own and every sequence that the app made, and of tables of extensions what those call data. `own`: names to be locked, so that
 * none changes or goes while it is copied.
 */
export async function readContents(source: pg.ClientBase): Promise<Contents & { own: string[] }> {
  const { rows: own } = await source.query<{ name: string; kind: string; columns: string | null }>(`
    select format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind,
           (select string_agg(quote_ident(attname), ', ' order by attnum)
            from pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '') as columns
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'S')
      and c.relpersistence <> 't'
      and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
      and not exists (
        select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e'
      )
  `)
  const { rows: ofExtensions } = await source.query<{ name: string; condition: string }>(`
    select format('%I.%I', n.nspname, c.relname) as name, coalesce(e.extcondition[i], '') as condition
    from pg_extension e, generate_subscripts(e.extconfig, 1) i, pg_class c, pg_namespace n
    where c.oid = e.extconfig[i] and n.oid = c.relnamespace and c.relkind = 'r'
  `)
  const tables = own.filter(({ kind }) => kind === 'r')
  return {
    own: tables.map(({ name }) => name),
    tables: [
      ...tables.map(({ name, columns }) => {
        const place = columns === null ? name : `${name} (${columns})`
        return { name: place, rows: place }
      }),
      ...ofExtensions.map(({ name, condition }) => ({ name, rows: `(select * from ${name} ${condition})` })),
    ],
    sequences: own.filter(({ kind }) => kind === 'S').map(({ name }) => name),
  }
}

/** Row by row, as text: in memory is what is under way. */
export async function copyTables(
  source: pg.ClientBase,
  target: pg.ClientBase,
  { tables }: Contents,
  signal: AbortSignal,
): Promise<void> {
  for (const { name, rows } of tables) {
    const reading = source.query(copyTo(`copy ${rows} to stdout`))
    await pipeline(reading, target.query(copyFrom(`copy ${name} from stdin`)), { signal })
  }
}

/** Where each sequence stands. */
export async function copySequences(
  source: pg.ClientBase,
  target: pg.ClientBase,
  { sequences }: Contents,
): Promise<void> {
  for (const name of sequences) {
    const { rows } = await source.query<{ value: string; called: boolean }>(
      `select last_value::text as value, is_called as called from ${name}`,
    )
    for (const { value, called } of rows)
      await target.query('select setval($1::regclass, $2, $3)', [name, value, called])
  }
}

const largeObjectPart = 1_048_576

/** Large objects keep their numbers, by which tables name them. */
export async function copyLargeObjects(source: pg.ClientBase, target: pg.ClientBase): Promise<void> {
  const { rows } = await source.query<{ id: string }>('select oid::text as id from pg_largeobject_metadata')
  for (const { id } of rows) {
    await target.query('select lo_create($1::oid)', [id])
    for (let at = 0; ; at += largeObjectPart) {
      const part = await source.query<{ bytes: Buffer }>('select lo_get($1::oid, $2, $3) as bytes', [
        id,
        at,
        largeObjectPart,
      ])
      const bytes = part.rows[0]?.bytes ?? Buffer.alloc(0)
      if (bytes.length > 0) await target.query('select lo_put($1::oid, $2, $3)', [id, at, bytes])
      if (bytes.length < largeObjectPart) break
    }
  }
}
