import { type Key, open, seal } from './secrets.ts'
import type { Db, Sql } from './sql.ts'

/** A change that may come again: by whom, under which key, and what was asked. */
export type Repeatable = { caller: string; key: string; requestSha256: Buffer }

/** What was answered. Either the answer itself, or the deployment whose progress it was; neither: it was a stream that is not kept. */
export type Remembered = {
  /** Of a body that was sent in chunks. */
  bodySha256: Buffer | null
  status: number
  contentType: string | null
  answer: string | null
  deploymentId: string | null
  until: string | null
}

/** `first`: nobody has asked for that yet, and whoever was told so does it. `other`: the key stood for something else. */
export type Standing = { is: 'first' } | { is: 'under way' } | { is: 'other' } | { is: 'done'; remembered: Remembered }

const keptForHours = 24
// Whoever began it is gone by then: an upload is cut off long before.
const abandonedAfterMin = 15

/** Whether a change was asked for before. One process at a time is told `first`. */
export async function beginRepeatable(sql: Sql, asked: Repeatable, key: Key): Promise<Standing> {
  const { caller, key: name, requestSha256 } = asked
  const [begun] = await sql`
    insert into repeats (caller, key, request_sha256)
    values (${caller}, ${name}, ${requestSha256})
    on conflict (caller, key) do update
    set request_sha256 = excluded.request_sha256,
        began_at = now(),
        body_sha256 = null,
        status = null,
        content_type = null,
        answer = null,
        deployment_id = null,
        until = null
    where repeats.began_at < now() - make_interval(hours => ${keptForHours})
       or repeats.status is null and repeats.began_at < now() - make_interval(mins => ${abandonedAfterMin})
    returning caller
  `
  if (begun) return { is: 'first' }
  const [kept] = await sql<(Omit<Remembered, 'answer'> & { requestSha256: Buffer; answer: Buffer | null })[]>`
    select request_sha256, body_sha256, status, content_type, answer, deployment_id, until
    from repeats
    where caller = ${caller}
      and key = ${name}
  `
  // It failed a moment ago, and the next one may try.
  if (!kept) return { is: 'under way' }
  if (!kept.requestSha256.equals(requestSha256)) return { is: 'other' }
  if (kept.status === null) return { is: 'under way' }
  const answer = kept.answer && open(key, contextOf(asked), kept.answer)
  return { is: 'done', remembered: { ...kept, answer } }
}

/** Keeps what was answered. */
export async function rememberAnswer(sql: Db, asked: Repeatable, remembered: Remembered, key: Key): Promise<void> {
  const { status, contentType, answer, deploymentId, until } = remembered
  await sql`
    update repeats
    set status = ${status},
        content_type = ${contentType},
        answer = ${answer === null ? null : seal(key, contextOf(asked), answer)},
        deployment_id = ${deploymentId},
        until = ${until},
        body_sha256 = ${remembered.bodySha256}
    where caller = ${asked.caller}
      and key = ${asked.key}
  `
}

/** For a change that was refused or failed: asked for again, it is tried again. */
export async function forgetRepeatable(sql: Db, { caller, key }: Repeatable): Promise<void> {
  await sql`delete from repeats where caller = ${caller} and key = ${key} and status is null`
}

/** Removes what is older than a day. */
export async function pruneRepeats(sql: Db): Promise<void> {
  await sql`delete from repeats where began_at < now() - make_interval(hours => ${keptForHours})`
}

function contextOf({ caller, key }: Repeatable): string {
  return `answer to ${caller} ${key}`
}
