import { createHash, randomBytes } from 'node:crypto'
import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import { microsOf, momentAt, type PlaceInTime } from './place-in-time.ts'
import { type Caller, type CallerRow, personColumns, type Scope, toCaller } from './rights.ts'
import type { Db, Sql } from './sql.ts'

export type { Caller, Scope } from './rights.ts'

export type Token = {
  id: string
  name: string
  scope: Scope
  appId: string | null
  /** Whose it is: it never reaches further than they do. Null: it stands alone. */
  personId: string | null
  createdAt: Date
  expiresAt: Date | null
  lastUsedAt: Date | null
}

export function newSecret(): string {
  return `atl_${randomBytes(32).toString('base64url')}`
}

/** Makes a token; `secret` is shown this once and stored as its SHA-256. It ends no later than the token it is `madeBy`. */
export async function createToken(
  sql: Db,
  {
    name,
    scope,
    appId = null,
    personId = null,
    expiresAt = null,
    madeBy = null,
  }: {
    name: string
    scope: Scope
    appId?: string | null
    personId?: string | null
    expiresAt?: Date | null
    madeBy?: string | null
  },
): Promise<{ token: Token; secret: string }> {
  const secret = newSecret()
  const [token] = await sql<Token[]>`
    insert into tokens (id, name, secret_sha256, scope, app_id, person_id, expires_at)
    values (
      ${newId()}, ${name}, ${hashOf(secret)}, ${scope}, ${appId}, ${personId},
      least(${expiresAt}::timestamptz, (select expires_at from tokens where id = ${madeBy}))
    )
    returning id, name, scope, app_id, person_id, created_at, expires_at, last_used_at
  `
  if (!token) throw new AppError('INTERNAL', 'creating a token returned no row')
  return { token, secret }
}

/** Makes the given secret the platform's admin token (idempotent); earlier secrets of the same name stop working. */
export async function ensureAdminToken(sql: Db, secret: string): Promise<void> {
  await sql`
    insert into tokens (id, name, secret_sha256, scope)
    values ('admin', 'admin', ${hashOf(secret)}, 'admin')
    on conflict (id) do update
    set secret_sha256 = excluded.secret_sha256
    where tokens.secret_sha256 <> excluded.secret_sha256
  `
}

/** Makes the given secret the admin token of a platform that has no token at all. False: it has one. */
export async function makeFirstAdminToken(sql: Sql, secret: string): Promise<boolean> {
  return sql.begin(async (tx) => {
    await tx`lock table tokens in exclusive mode`
    const made = await tx`
      insert into tokens (id, name, secret_sha256, scope)
      select 'admin', 'admin', ${hashOf(secret)}, 'admin'
      where not exists (select from tokens)
      returning id
    `
    return made.length === 1
  })
}

/** The caller a secret belongs to, or null: unknown, expired, malformed. Looks a hash up, so timing tells nothing of the secret. */
export async function authenticate(sql: Db, secret: string): Promise<Caller | null> {
  if (!/^atl_[A-Za-z0-9_-]{43}$/.test(secret)) return null
  const [token] = await sql<(CallerRow & { stale: boolean })[]>`
    select t.id as token_id, t.name as token_name, t.scope, t.app_id, ${personColumns(sql)},
           t.last_used_at is null or t.last_used_at < now() - interval '1 minute' as stale
    from tokens t
    left join people p on p.id = t.person_id
    where t.secret_sha256 = ${hashOf(secret)}
      and (t.expires_at is null or t.expires_at > now())
  `
  if (!token) return null
  if (token.stale) {
    await sql`
      update tokens
      set last_used_at = now()
      where id = ${token.tokenId}
    `
  }
  return toCaller(token)
}

export type ListedToken = Token & { person: string | null; micros: string }

/** All tokens, or those of a person, the oldest first, from the one after `after` on. `limit` null: without end. */
export async function listTokens(
  sql: Db,
  {
    of = null,
    after = null,
    limit = null,
  }: { of?: string | null; after?: PlaceInTime | null; limit?: number | null } = {},
): Promise<ListedToken[]> {
  const [micros, id] = after ?? []
  return sql<ListedToken[]>`
    select ${microsOf(sql, 't.created_at')} as micros, t.id, t.name, t.scope, t.app_id, t.person_id, p.name as person, t.created_at, t.expires_at, t.last_used_at
    from tokens t
    left join people p on p.id = t.person_id
    where (${of}::text is null or t.person_id = ${of})
      ${after === null ? sql`` : sql`and (t.created_at, t.id) > (${momentAt(sql, micros ?? '')}, ${id ?? ''})`}
    order by t.created_at, t.id
    limit ${limit}
  `
}

export async function findToken(sql: Db, id: string): Promise<Token | null> {
  const [token] = await sql<Token[]>`
    select id, name, scope, app_id, person_id, created_at, expires_at, last_used_at
    from tokens
    where id = ${id}
  `
  return token ?? null
}

/** Null: there is none, or it is not `of` that person. */
export async function deleteToken(
  sql: Db,
  id: string,
  { of = null }: { of?: string | null } = {},
): Promise<Token | null> {
  const [token] = await sql<Token[]>`
    delete from tokens
    where id = ${id}
      and (${of}::text is null or person_id = ${of})
    returning id, name, scope, app_id, person_id, created_at, expires_at, last_used_at
  `
  return token ?? null
}

/** Ends all tokens of a person but the one that asks; returns how many. */
export async function deleteTokensOf(
  sql: Db,
  personId: string,
  { except = null }: { except?: string | null } = {},
): Promise<number> {
  const deleted = await sql`
    delete from tokens
    where person_id = ${personId}
      and id is distinct from ${except}
    returning 1
  `
  return deleted.length
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
