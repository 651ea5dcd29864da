import { type IsolationMode, isolationModes } from './config.ts'
import type { Db } from './sql.ts'

/** What one part of the platform proved of the walls it starts programs behind. */
export type ProvedIsolation = {
  part: 'worker' | 'proxy'
  /** Which of them: the worker's or the edge's id. */
  instance: string
  mode: IsolationMode
  /** One line for people. */
  summary: string
  /** What to install or set, the first one first. */
  advice: string[]
}

/** Each part proves it anew every ten minutes; what is older comes from one that is gone. */
const provenForMin = 25

export async function recordIsolation(
  sql: Db,
  { part, instance, mode, summary, advice }: ProvedIsolation,
): Promise<void> {
  await sql`
    insert into isolation (part, instance, mode, summary, advice)
    values (${part}, ${instance}, ${mode}, ${summary}, ${advice})
    on conflict (part, instance) do update
    set mode = excluded.mode,
        summary = excluded.summary,
        advice = excluded.advice,
        at = now()
  `
}

/** A part that stops takes what it proved with it. */
export async function forgetIsolation(
  sql: Db,
  { part, instance }: Pick<ProvedIsolation, 'part' | 'instance'>,
): Promise<void> {
  await sql`delete from isolation where part = ${part} and instance = ${instance}`
}

/** The weakest of what the living parts proved; null when none has yet. */
export async function readIsolation(sql: Db): Promise<ProvedIsolation | null> {
  const [weakest] = await sql<ProvedIsolation[]>`
    select part, instance, mode, summary, to_jsonb(advice) as advice
    from isolation
    where at > now() - make_interval(mins => ${provenForMin})
    order by array_position(${[...isolationModes]}::text[], mode), part, instance
    limit 1
  `
  return weakest ?? null
}

/** Whether people have to be told at every deploy: apps and builds reach this machine, or each other. */
export function isWeak({ mode }: Pick<ProvedIsolation, 'mode'>): boolean {
  return mode === 'users' || mode === 'none'
}
