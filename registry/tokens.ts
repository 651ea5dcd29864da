import { createHash, randomBytes } from 'node:crypto'
import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import type { Db, Sql } from './sql.ts'

export type Scope = 'admin' | 'deploy' | 'read'
export type Action = 'read' | 'deploy' | 'create' | 'admin'
export type Token = {
  id: string
  name: string
  scope: Scope
  appId: string | null
  createdAt: Date
  expiresAt: Date | null
  lastUsedAt: Date | null
}
/** Who is asking. `appId` null: the token is good for every app. */
export type Caller = { tokenId: string; name: string; scope: Scope; appId: string | null }

const allowedActions: Record<Scope, Action[]> = {
  admin: ['read', 'deploy', 'create', 'admin'],
  deploy: ['read', 'deploy', 'create'],
  read: ['read'],
}

/** The one place that decides. `create` and `admin` need a token that is not limited to one app; `appId` null asks about the platform itself. */
export function may(caller: Caller, action: Action, appId: string | null): boolean {
  if (!allowedActions[caller.scope].includes(action)) return false
  if (caller.appId === null) return true
  return caller.appId === appId && (action === 'read' || action === 'deploy')
}

export function newSecret(): string {
  return `atl_${randomBytes(32).toString('base64url')}`
}

/** Makes a token; `secret` is shown this once and stored as its SHA-256. */
export async function createToken(
  sql: Db,
  {
    name,
    scope,
    appId = null,
    expiresAt = null,
  }: { name: string; scope: Scope; appId?: string | null; expiresAt?: Date | null },
): Promise<{ token: Token; secret: string }> {
  const secret = newSecret()
  const [token] = await sql<Token[]>`
    insert into tokens (id, name, secret_sha256, scope, app_id, expires_at)
    values (${newId()}, ${name}, ${hashOf(secret)}, ${scope}, ${appId}, ${expiresAt})
    returning id, name, scope, app_id, created_at, expires_at, last_used_at
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
  const [token] = await sql<(Token & { stale: boolean })[]>`
    select id, name, scope, app_id, last_used_at is null or last_used_at < now() - interval '1 minute' as stale
    from tokens
    where secret_sha256 = ${hashOf(secret)}
      and (expires_at is null or expires_at > now())
  `
  if (!token) return null
  if (token.stale) {
    await sql`
      update tokens
      set last_used_at = now()
      where id = ${token.id}
    `
  }
  return { tokenId: token.id, name: token.name, scope: token.scope, appId: token.appId }
}

export async function listTokens(sql: Db): Promise<Token[]> {
  return sql<Token[]>`
    select id, name, scope, app_id, created_at, expires_at, last_used_at
    from tokens
    order by created_at
  `
}

export async function deleteToken(sql: Db, id: string): Promise<Token | null> {
  const [token] = await sql<Token[]>`
    delete from tokens
    where id = ${id}
    returning id, name, scope, app_id, created_at, expires_at, last_used_at
  `
  return token ?? null
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
