import { createHash, randomBytes } from 'node:crypto'
import { AppError } from './errors.ts'
import type { Db } from './sql.ts'
import type { Caller } from './tokens.ts'

/** How long a sign-in link can be used, and how long a browser stays signed in. */
const codeHours = 24
const sessionDays = 7

/** A code that signs one browser in, once, with the rights of the token. */
export async function createSignInCode(sql: Db, tokenId: string): Promise<{ code: string; expiresAt: Date }> {
  const code = randomBytes(32).toString('base64url')
  await sql`delete from console_codes where expires_at < now()`
  const [made] = await sql<{ expiresAt: Date }[]>`
    insert into console_codes (code_sha256, token_id, expires_at)
    values (${hashOf(code)}, ${tokenId}, now() + make_interval(hours => ${codeHours}))
    returning expires_at
  `
  if (!made) throw new AppError('INTERNAL', 'creating a sign-in code returned no row')
  return { code, expiresAt: made.expiresAt }
}

/** Trades a code for a session's secret; the code is gone with it. Null: unknown, used or too old. */
export async function redeemSignInCode(sql: Db, code: string): Promise<{ secret: string; maxAgeSec: number } | null> {
  const secret = randomBytes(32).toString('base64url')
  const [session] = await sql`
    with code as (
      delete from console_codes
      where code_sha256 = ${hashOf(code)}
      returning token_id, expires_at
    )
    insert into console_sessions (secret_sha256, token_id, token_secret_sha256, expires_at)
    select ${hashOf(secret)}, t.id, t.secret_sha256, now() + make_interval(days => ${sessionDays})
    from code
    join tokens t on t.id = code.token_id
    where code.expires_at > now()
      and (t.expires_at is null or t.expires_at > now())
    returning token_id
  `
  return session ? { secret, maxAgeSec: sessionDays * 86_400 } : null
}

/** Whom a session's secret stands for, or null: signed out, expired, or its token is no longer valid. */
export async function findSession(sql: Db, secret: string): Promise<Caller | null> {
  const [caller] = await sql<Caller[]>`
    select t.id as token_id, t.name, t.scope, t.app_id
    from console_sessions s
    join tokens t on t.id = s.token_id and t.secret_sha256 = s.token_secret_sha256
    where s.secret_sha256 = ${hashOf(secret)}
      and s.expires_at > now()
      and (t.expires_at is null or t.expires_at > now())
  `
  return caller ?? null
}

export async function endSession(sql: Db, secret: string): Promise<void> {
  await sql`delete from console_sessions where secret_sha256 = ${hashOf(secret)} or expires_at < now()`
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
