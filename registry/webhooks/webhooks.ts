import type { Environment } from '../branches.ts'
import { AppError } from '../errors.ts'
import { newId } from '../ids.ts'
import { type Key, open, seal } from '../secrets.ts'
import type { Db } from '../sql.ts'
import { newWebhookSecret } from './signature.ts'

export type WebhookFormat = 'json' | 'slack'

/** Whom the platform tells what happens. `appId` null: of all apps. */
export type Webhook = {
  id: string
  appId: string | null
  name: string
  /** Without what may be a secret in it. */
  shownAddress: string
  format: WebhookFormat
  /** Types of events, `deployment.*`, `*`. */
  events: string[]
  /** Null: of both. */
  environment: Environment | null
  /** The secret before the present one signs too, until then. */
  formerUntil: Date | null
  disabledAt: Date | null
  disabledReason: string | null
  createdAt: Date
  createdBy: string
}

export type NewWebhook = Pick<Webhook, 'appId' | 'name' | 'format' | 'events' | 'environment'> & {
  address: string
  by: string
}

/** What is sealed of a webhook, as its row has it. */
export type SealedWebhook = {
  id: string
  address: Buffer
  secret: Buffer
  formerSecret: Buffer | null
  formerUntil: Date | null
}

export const mostWebhooks = 50
/** Receivers have a day to learn a new secret. */
const formerForSec = 86_400

/** Makes a webhook; `secret` is shown this once and stored sealed. Throws WEBHOOK_TOO_MANY. */
export async function createWebhook(
  sql: Db,
  wanted: NewWebhook,
  key: Key,
): Promise<{ webhook: Webhook; secret: string }> {
  const { appId, address, name, format, events, environment, by } = wanted
  const [{ count } = { count: 0 }] = await sql<{ count: number }[]>`
    select count(*)::integer as count from webhooks where app_id is not distinct from ${appId}
  `
  if (count >= mostWebhooks)
    throw new AppError(
      'WEBHOOK_TOO_MANY',
      `there are ${count} webhooks already, and ${mostWebhooks} are the most; remove one`,
    )
  const id = newId()
  const secret = newWebhookSecret()
  const [webhook] = await sql<Webhook[]>`
    insert into webhooks (id, app_id, name, address, shown_address, format, events, environment, secret, created_by)
    values (
      ${id}, ${appId}, ${name}, ${seal(key, contextOf(id, 'address'), address)}, ${showAddress(address)}, ${format},
      ${events}, ${environment}, ${seal(key, contextOf(id, 'secret'), secret)}, ${by}
    )
    returning ${columns(sql)}
  `
  if (!webhook) throw new AppError('INTERNAL', 'creating a webhook returned no row')
  return { webhook, secret }
}

/** Those of an app; of null, those of the platform. The oldest first. */
export async function listWebhooks(sql: Db, appId: string | null): Promise<Webhook[]> {
  return sql<Webhook[]>`
    select ${columns(sql)}
    from webhooks
    where app_id is not distinct from ${appId}
    order by created_at, id
  `
}

/** Throws WEBHOOK_NOT_FOUND, also when it is another app's, or the platform's. */
export async function needWebhook(sql: Db, appId: string | null, id: string): Promise<Webhook> {
  const [webhook] = await sql<Webhook[]>`
    select ${columns(sql)}
    from webhooks
    where id = ${id}
      and app_id is not distinct from ${appId}
  `
  if (webhook) return webhook
  throw new AppError('WEBHOOK_NOT_FOUND', `there is no webhook ${id}; see: atelier webhooks`)
}

/** Its deliveries go with it. */
export async function deleteWebhook(sql: Db, id: string): Promise<void> {
  await sql`delete from webhooks where id = ${id}`
}

/** Gives it a new secret, shown this once. The one before signs too for a day; one that was still there from an earlier rotation ends. */
export async function rotateSecret(sql: Db, id: string, key: Key): Promise<{ webhook: Webhook; secret: string }> {
  const secret = newWebhookSecret()
  const context = contextOf(id, 'secret')
  const [webhook] = await sql<Webhook[]>`
    update webhooks
    set former_secret = secret,
        former_until = now() + make_interval(secs => ${formerForSec}),
        secret = ${seal(key, context, secret)}
    where id = ${id}
    returning ${columns(sql)}
  `
  if (!webhook) throw new AppError('WEBHOOK_NOT_FOUND', `there is no webhook ${id}; see: atelier webhooks`)
  return { webhook, secret }
}

/** What waits for it is sent again from now on. */
export async function enableWebhook(sql: Db, id: string): Promise<void> {
  await sql`
    update webhooks
    set disabled_at = null,
        disabled_reason = null
    where id = ${id}
  `
  await sql`select pg_notify('webhooks', ${id})`
}

/** Ends it until somebody enables it, and tells others who asked for that. False: it was disabled already. */
export async function disableWebhook(tx: Db, id: string, reason: string): Promise<boolean> {
  const [disabled] = await tx<Webhook[]>`
    update webhooks
    set disabled_at = clock_timestamp(),
        disabled_reason = ${reason}
    where id = ${id}
      and disabled_at is null
    returning ${columns(tx)}
  `
  if (!disabled) return false
  const { name, appId, shownAddress } = disabled
  const data = { webhook: { id, name, app_id: appId, address: shownAddress }, reason }
  await tx`select tell_webhooks('webhook.disabled', ${appId}, null, ${tx.json(data)})`
  return true
}

/** Where it goes, and what signs it. Throws INTERNAL when the platform's key is another one. */
export function openWebhook({ id, ...row }: SealedWebhook, key: Key): { address: string; secrets: string[] } {
  const isFormer = row.formerSecret !== null && row.formerUntil !== null && row.formerUntil.getTime() > Date.now()
  const sealed = [row.secret, ...(isFormer && row.formerSecret ? [row.formerSecret] : [])]
  return {
    address: open(key, contextOf(id, 'address'), row.address),
    secrets: sealed.map((bytes) => open(key, contextOf(id, 'secret'), bytes)),
  }
}

// The former secret was sealed as the secret.
export function contextOf(id: string, what: 'address' | 'secret'): string {
  return `webhook:${id}/${what}`
}

/**
 * `https://hooks.slack.com/services/…`, for those who may look. Whoever knows an address may send there: all of it but the host and one plain
 * word may be a secret, also what is as short as Zapier's (`/hooks/catch/1234567/a1b2c3/`).
 */
export function showAddress(address: string): string {
  const { origin, pathname, search } = new URL(address)
  const [first = '', ...rest] = pathname.slice(1).split('/')
  const word = /^[a-z-]{0,16}$/i.test(first) ? first : '…'
  return `${origin}/${word}${rest.some((part) => part !== '') ? '/…' : ''}${search ? '?…' : ''}`.slice(0, 200)
}

function columns(sql: Db) {
  return sql`
    id, app_id, name, shown_address, format, to_jsonb(events) as events, environment, former_until, disabled_at, disabled_reason,
    created_at, created_by
  `
}
