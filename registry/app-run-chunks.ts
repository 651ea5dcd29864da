import { channels } from './routes.ts'
import { type Key, openBytes, seal } from './secrets.ts'
import type { Db } from './sql.ts'

// What a command reads and writes, on its way: a chunk lies here until the other side has taken it, sealed, for it comes unmasked to whoever asked.

export type OutputChunk = { stream: 'stdout' | 'stderr'; data: Buffer }
export type InputChunk = { seq: number; data: Buffer; isLast: boolean }
export type ChunksOf = { run: string; key: Key }

/** Lays down what a command has written, after the chunk before `seq`. Returns how many chunks nobody has taken yet. */
export async function putOutput(sql: Db, { run, key }: ChunksOf, seq: number, chunks: OutputChunk[]): Promise<number> {
  for (const [index, { stream, data }] of chunks.entries())
    await sql`
      insert into app_run_chunks (run_id, seq, stream, data)
      values (${run}, ${seq + index}, ${stream}, ${seal(key, chunkContext(run, stream, seq + index), data)})
      on conflict do nothing
    `
  await sql`select pg_notify(${channels.appRuns}, ${`${run}:output`})`
  return countOutput(sql, run)
}

export async function countOutput(sql: Db, run: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count
    from app_run_chunks
    where run_id = ${run}
      and stream <> 'stdin'
  `
  return row?.count ?? 0
}

/** Takes what has come out, in order; whoever writes is told that there is room. */
export async function takeOutput(sql: Db, { run, key }: ChunksOf): Promise<(OutputChunk & { seq: number })[]> {
  const taken = await sql<(OutputChunk & { seq: number })[]>`
    delete from app_run_chunks
    where run_id = ${run}
      and stream <> 'stdin'
    returning seq, stream, data
  `
  if (taken.length > 0) await sql`select pg_notify(${channels.appRuns}, ${`${run}:taken`})`
  return taken
    .sort(bySeq)
    .map((one) => ({ ...one, data: openBytes(key, chunkContext(run, one.stream, one.seq), one.data) }))
}

/** Lays down a piece of input; the same `seq` twice is one. Returns how many pieces wait. */
export async function putInput(sql: Db, { run, key }: ChunksOf, { seq, data, isLast }: InputChunk): Promise<number> {
  await sql`
    insert into app_run_chunks (run_id, seq, stream, data, is_last)
    values (${run}, ${seq}, 'stdin', ${seal(key, chunkContext(run, 'stdin', seq), data)}, ${isLast})
    on conflict do nothing
  `
  await sql`select pg_notify(${channels.appRuns}, ${`${run}:input`})`
  return countInput(sql, run)
}

export async function countInput(sql: Db, run: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count
    from app_run_chunks
    where run_id = ${run}
      and stream = 'stdin'
  `
  return row?.count ?? 0
}

/** Takes the input that is there, in order. */
export async function takeInput(sql: Db, { run, key }: ChunksOf): Promise<InputChunk[]> {
  const taken = await sql<InputChunk[]>`
    delete from app_run_chunks
    where run_id = ${run}
      and stream = 'stdin'
    returning seq, data, is_last
  `
  if (taken.length > 0) await sql`select pg_notify(${channels.appRuns}, ${`${run}:fed`})`
  return taken
    .sort(bySeq)
    .map((one) => ({ ...one, data: openBytes(key, chunkContext(run, 'stdin', one.seq), one.data) }))
}

/** What a chunk is sealed in. */
export function chunkContext(run: string, stream: 'stdin' | 'stdout' | 'stderr', seq: number): string {
  return `run:${run}/${stream}/${seq}`
}

function bySeq(one: { seq: number }, other: { seq: number }): number {
  return one.seq - other.seq
}
