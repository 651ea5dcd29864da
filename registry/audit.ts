import type { DeedName } from './deed-words.ts'
import type { Db } from './sql.ts'

/** Who did it, by which door, from where. Names and ids stay as they were, whatever becomes of those who had them. */
export type Actor = {
  name: string
  personId: string | null
  tokenId: string | null
  via: 'api' | 'cli' | 'console' | 'git' | 'webhook' | 'server'
  /** The client's address; null: it was not told, as on the server itself. */
  address: string | null
}

/** `action`: a route of the API (`POST /rollback`), `git push`, `sign in`; deed-words.ts has what people read of it. `detail` never holds a secret. */
export type Deed = { action: DeedName; app: string | null; target?: string | null; detail?: Record<string, unknown> }

export type AuditEntry = {
  id: number
  at: Date
  action: string
  appId: string | null
  target: string | null
  detail: Record<string, unknown>
  actor: string
  personId: string | null
  tokenId: string | null
  via: Actor['via']
  address: string | null
  /** `done`, an error's code, or null: the process ended over it. */
  outcome: string | null
}

/** Writes down what somebody is about to do; what cannot be written down is not done. Returns the entry's id, for its outcome. */
export async function recordDeed(
  sql: Db,
  actor: Actor,
  { action, app, target = null, detail = {} }: Deed,
): Promise<number> {
  const [entry] = await sql<{ id: number }[]>`
    insert into audit_entries (action, app_id, target, detail, actor, person_id, token_id, via, address)
    values (
      ${action}, ${app}, ${target}, ${sql.json(keepable(detail) as never)}, ${actor.name}, ${actor.personId}, ${actor.tokenId},
      ${actor.via}, ${actor.address}
    )
    returning id
  `
  return entry?.id ?? 0
}

// A request may hold what no jsonb can (U+0000, half a character), and more than anybody reads.
function keepable(detail: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(detail, (_, value: unknown) =>
    typeof value === 'string' ? value.slice(0, maxText).toWellFormed().replaceAll('\0', '\ufffd') : value,
  )
  return text.length > maxDetail ? { left_out: `${text.length} characters` } : JSON.parse(text)
}

/** What came of it: `done`, or an error's code. */
export async function recordOutcome(sql: Db, id: number, outcome: string): Promise<void> {
  await sql`
    insert into audit_outcomes (entry_id, outcome)
    values (${id}, ${outcome})
  `
}

/** Both at once, for what is known when it is over; in the transaction of the deed where there is one. */
export async function recordDone(sql: Db, actor: Actor, deed: Deed, outcome = 'done'): Promise<void> {
  await recordOutcome(sql, await recordDeed(sql, actor, deed), outcome)
}

/** An address as the audit log may have it: without what may be a secret in it, also when it is no address at all. */
export function addressToKeep(text: string): string {
  return text.replace(/\/\/.*@/, '//…@').replace(/[?#].*$/, '?…')
}

const forgottenAtOnce = 1000

/**
 * Forgets entries that are older than so many days, 30 at least; null: none. The database lets nobody remove others, or change any. Returns how many.
 */
export async function pruneAudit(sql: Db, days: number | null): Promise<number> {
  if (days === null) return 0
  for (let forgotten = 0; ; ) {
    const [{ count } = { count: 0 }] = await sql<{ count: number }[]>`
      select forget_audit_entries(now() - make_interval(days => ${days}), ${forgottenAtOnce}) as count
    `
    forgotten += count
    if (count < forgottenAtOnce) return forgotten
  }
}

const maxText = 500
const maxDetail = 8_000

export type AuditQuery = {
  /** Of these apps; null: of all, and of the platform. */
  apps: string[] | null
  actor?: string | null
  /** Only entries before this one. */
  before?: number | null
  limit: number
}

/** Newest first. An app that has the name of one that is gone does not answer for it: only entries since it was created are its own. */
export async function listEntries(
  sql: Db,
  { apps, actor = null, before = null, limit }: AuditQuery,
): Promise<AuditEntry[]> {
  return sql<AuditEntry[]>`
    select e.id, e.at, e.action, e.app_id, e.target, e.detail, e.actor, e.person_id, e.token_id, e.via, e.address, o.outcome
    from audit_entries e
    left join audit_outcomes o on o.entry_id = e.id
    where (${apps}::text[] is null or exists (
        select from apps a
        where a.id = e.app_id
          and a.id = any(${apps ?? []})
          and e.at >= a.created_at
      ))
      and (${actor}::text is null or e.actor = ${actor})
      and (${before}::bigint is null or e.id < ${before})
    order by e.id desc
    limit ${limit}
  `
}
