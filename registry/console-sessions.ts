import { createHash, randomBytes } from 'node:crypto'
import { AppError } from './errors.ts'
import { type Caller, type CallerRow, personColumns, toCaller } from './rights.ts'
import type { Db } from './sql.ts'

/** How long a sign-in link can be used, and how long a browser stays signed in. */
const codeHours = 24
const sessionDays = 7
const maxAgeSec = sessionDays * 86_400

export type Session = { secret: string; maxAgeSec: number }

/** Whom a browser stands for: a token, or a person. */
export type SignInAs = { tokenId: string } | { personId: string }

/** The same rights again, for another browser. */
export function signInAs({ tokenId, person }: Caller): SignInAs {
  if (tokenId !== null) return { tokenId }
  if (person !== null) return { personId: person.id }
  throw new AppError('INTERNAL', 'a caller has neither a token nor a person')
}

/** A code that signs one browser in, once, with the rights of the token or of the person. */
export async function createSignInCode(sql: Db, as: SignInAs): Promise<{ code: string; expiresAt: Date }> {
  const code = randomBytes(32).toString('base64url')
  const { tokenId, personId } = { tokenId: null, personId: null, ...as }
  await sql`delete from console_codes where expires_at < now()`
  const [made] = await sql<{ expiresAt: Date }[]>`
    insert into console_codes (code_sha256, token_id, person_id, expires_at)
    values (${hashOf(code)}, ${tokenId}, ${personId}, now() + make_interval(hours => ${codeHours}))
    returning expires_at
  `
  if (!made) throw new AppError('INTERNAL', 'creating a sign-in code returned no row')
  return { code, expiresAt: made.expiresAt }
}

/** Trades a code for a session's secret; the code is gone with it. Null: unknown, used or too old. */
export async function redeemSignInCode(sql: Db, code: string): Promise<Session | null> {
  const secret = randomBytes(32).toString('base64url')
  const [session] = await sql`
    with code as (
      delete from console_codes
      where code_sha256 = ${hashOf(code)}
      returning token_id, person_id, expires_at
    )
    insert into console_sessions (secret_sha256, token_id, token_secret_sha256, person_id, expires_at)
    select ${hashOf(secret)}, t.id, t.secret_sha256, code.person_id, now() + make_interval(days => ${sessionDays})
    from code
    left join tokens t on t.id = code.token_id
    where code.expires_at > now()
      and (t.expires_at is null or t.expires_at > now())
    returning 1
  `
  return session ? { secret, maxAgeSec } : null
}

/** A session of a person who has shown who they are. */
export async function createSession(sql: Db, personId: string): Promise<Session> {
  const secret = randomBytes(32).toString('base64url')
  await sql`
    insert into console_sessions (secret_sha256, person_id, expires_at)
    values (${hashOf(secret)}, ${personId}, now() + make_interval(days => ${sessionDays}))
  `
  return { secret, maxAgeSec }
}

/** Signs a person out of every browser, and links that would sign one in again are good no more; returns of how many. */
export async function endSessionsOf(sql: Db, personId: string): Promise<number> {
  const ended = await sql`
    delete from console_sessions
    where person_id = ${personId}
       or token_id in (select id from tokens where person_id = ${personId})
    returning 1
  `
  await sql`
    delete from console_codes
    where person_id = ${personId}
       or token_id in (select id from tokens where person_id = ${personId})
  `
  return ended.length
}

/** Whom a session's secret stands for, or null: signed out, expired, or its token is no longer valid. */
export async function findSession(sql: Db, secret: string): Promise<Caller | null> {
  const [row] = await sql<CallerRow[]>`
    select t.id as token_id, t.name as token_name, t.scope, t.app_id, ${personColumns(sql)}
    from console_sessions s
    left join tokens t on t.id = s.token_id
    left join people p on p.id = coalesce(s.person_id, t.person_id)
    where s.secret_sha256 = ${hashOf(secret)}
      and s.expires_at > now()
      and (t.expires_at is null or t.expires_at > now())
      and t.secret_sha256 is not distinct from s.token_secret_sha256
  `
  return row ? toCaller(row) : null
}

export async function endSession(sql: Db, secret: string): Promise<void> {
  await sql`delete from console_sessions where secret_sha256 = ${hashOf(secret)} or expires_at < now()`
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
