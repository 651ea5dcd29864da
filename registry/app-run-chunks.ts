import { channels } from './routes.ts'
import type { Db } from './sql.ts'

// What a command reads and writes, on its way: a chunk lies here until the other side has taken it.

export type OutputChunk = { stream: 'stdout' | 'stderr'; data: Buffer }
export type InputChunk = { seq: number; data: Buffer; isLast: boolean }

/** Lays down what a command has written, after the chunk before `seq`. Returns how many chunks nobody has taken yet. */
export async function putOutput(sql: Db, run: string, seq: number, chunks: OutputChunk[]): Promise<number> {
  for (const [index, { stream, data }] of chunks.entries())
    await sql`
      insert into app_run_chunks (run_id, seq, stream, data)
      values (${run}, ${seq + index}, ${stream}, ${data})
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
export async function takeOutput(sql: Db, run: string): Promise<(OutputChunk & { seq: number })[]> {
  const taken = await sql<(OutputChunk & { seq: number })[]>`
    delete from app_run_chunks
    where run_id = ${run}
      and stream <> 'stdin'
    returning seq, stream, data
  `
  if (taken.length > 0) await sql`select pg_notify(${channels.appRuns}, ${`${run}:taken`})`
  return taken.sort((one, other) => one.seq - other.seq)
}

/** Lays down a piece of input; the same `seq` twice is one. Returns how many pieces wait. */
export async function putInput(sql: Db, run: string, { seq, data, isLast }: InputChunk): Promise<number> {
  await sql`
    insert into app_run_chunks (run_id, seq, stream, data, is_last)
    values (${run}, ${seq}, 'stdin', ${data}, ${isLast})
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
export async function takeInput(sql: Db, run: string): Promise<InputChunk[]> {
  const taken = await sql<InputChunk[]>`
    delete from app_run_chunks
    where run_id = ${run}
      and stream = 'stdin'
    returning seq, data, is_last
  `
  if (taken.length > 0) await sql`select pg_notify(${channels.appRuns}, ${`${run}:fed`})`
  return taken.sort((one, other) => one.seq - other.seq)
}
