import { AppError } from '../errors.ts'
import type { Db, Sql } from '../sql.ts'
import type { EventData, WebhookEvent } from './message.ts'
import { disableWebhook, needWebhook, type SealedWebhook, type WebhookFormat } from './webhooks.ts'

// What is to be sent is written by triggers, with the event itself (migrations/0028). Here it is claimed, and what became of it is written down.

export type DeliveryState = 'waiting' | 'sending' | 'delivered' | 'failed'
/** `status` null: no answer came. `reason`: why it does not count as taken; null: it does. */
export type Attempt = { at: Date; durationMs: number; status: number | null; reason: string | null }
export type Delivery = {
  id: number
  state: DeliveryState
  event: { id: string; type: string; at: Date }
  /** When it is sent next; null: not any more. */
  dueAt: Date | null
  endedAt: Date | null
  /** The last twenty, the oldest first. */
  attempts: Attempt[]
}

/** One to send now. `attempt` counts from 1 and fences what is written of it. */
export type Claimed = SealedWebhook & {
  deliveryId: number
  attempt: number
  format: WebhookFormat
  event: WebhookEvent
}

/** Whoever has not said how it went by then is dead: it is sent again. */
const leaseSec = 30

/** The one that waits the longest, of a webhook that is not among `except`; null: none is due. */
export async function claimDelivery(sql: Db, { except }: { except: string[] }): Promise<Claimed | null> {
  const [row] = await sql<(Omit<Claimed, 'event'> & { eventId: string; type: string; at: Date; data: EventData })[]>`
    with claimed as (
      update webhook_deliveries
      set state = 'sending',
          attempt = attempt + 1,
          due_at = clock_timestamp() + make_interval(secs => ${leaseSec})
      where id = (
        select d.id
        from webhook_deliveries d
        join webhooks w on w.id = d.webhook_id
        where d.state in ('waiting', 'sending')
          and d.due_at <= clock_timestamp()
          and w.disabled_at is null
          and d.webhook_id <> all(${except})
        order by d.due_at, d.id
        limit 1
        for update of d skip locked
      )
      returning id, webhook_id, event_id, attempt
    )
    select c.id as delivery_id, c.attempt, w.id, w.format, w.address, w.secret, w.former_secret, w.former_until,
           e.id as event_id, e.type, e.at, e.data
    from claimed c
    join webhooks w on w.id = c.webhook_id
    join webhook_events e on e.id = c.event_id
  `
  if (!row) return null
  const { eventId, type, at, data, ...claimed } = row
  return { ...claimed, event: { id: eventId, type, at, data } }
}

/** In how many milliseconds the next one is due; null: none waits. */
export async function untilNextDelivery(sql: Db, { except }: { except: string[] }): Promise<number | null> {
  const [next] = await sql<{ ms: number | null }[]>`
    select (extract(epoch from min(d.due_at) - clock_timestamp()) * 1000)::double precision as ms
    from webhook_deliveries d
    join webhooks w on w.id = d.webhook_id
    where d.state in ('waiting', 'sending')
      and w.disabled_at is null
      and d.webhook_id <> all(${except})
  `
  return next?.ms ?? null
}

/** What becomes of a delivery after an attempt. `retryInSec` null: it is given up. */
export type Outcome = { attempt: Attempt } & (
  | { kind: 'delivered' }
  | { kind: 'failed'; retryInSec: number | null; isGone: boolean }
)

/**
 * Writes down how an attempt went. A webhook whose receiver says that it is gone is disabled, and one that took nothing from this message's first attempt to
 * its last. Returns whether it was disabled; null: somebody else has sent it meanwhile, for this one was taken for dead.
 */
export async function recordAttempt(
  sql: Sql,
  claimed: Claimed,
  outcome: Outcome,
): Promise<{ isDisabled: boolean } | null> {
  const { deliveryId, attempt, id: webhookId, event } = claimed
  const retryInSec = outcome.kind === 'failed' ? outcome.retryInSec : null
  const state = outcome.kind === 'delivered' ? 'delivered' : retryInSec === null ? 'failed' : 'waiting'
  return sql.begin(async (tx) => {
    const kept = await tx`
      update webhook_deliveries
      set state = ${state},
          due_at = clock_timestamp() + make_interval(secs => ${retryInSec ?? 0}),
          ended_at = case when ${state !== 'waiting'} then clock_timestamp() end
      where id = ${deliveryId}
        and attempt = ${attempt}
        and state = 'sending'
      returning id
    `
    if (kept.length === 0) return null
    const { at, durationMs, status, reason } = outcome.attempt
    await tx`
      insert into webhook_attempts (delivery_id, at, duration_ms, status, reason)
      values (${deliveryId}, ${at}, ${durationMs}, ${status}, ${reason})
    `
    if (state !== 'failed' || outcome.kind !== 'failed') return { isDisabled: false }
    if (outcome.isGone)
      return { isDisabled: await disableWebhook(tx, webhookId, 'the receiver says that it is gone (410)') }
    const [taken] = await tx`
      select from webhook_deliveries
      where webhook_id = ${webhookId}
        and state = 'delivered'
        and ended_at > ${event.at}
      limit 1
    `
    if (taken || event.type === 'webhook.test') return { isDisabled: false }
    const why = `nothing was taken since ${event.at.toISOString().slice(0, 16).replace('T', ' ')} UTC; the last time: ${reason}`
    return { isDisabled: await disableWebhook(tx, webhookId, why) }
  })
}

/** Gives one back that was not sent, for whoever comes next. */
export async function releaseDelivery(sql: Db, { deliveryId, attempt }: Claimed): Promise<void> {
  await sql`
    update webhook_deliveries
    set state = 'waiting',
        attempt = attempt - 1,
        due_at = clock_timestamp()
    where id = ${deliveryId}
      and attempt = ${attempt}
      and state = 'sending'
  `
}

/** Sends it again, under the same id, with all its tries; what was tried before stays in the log. Throws DELIVERY_NOT_FOUND. */
export async function redeliver(sql: Db, webhookId: string, id: number): Promise<Delivery> {
  await sql`
    update webhook_deliveries
    set state = 'waiting',
        attempt = 0,
        due_at = clock_timestamp(),
        ended_at = null
    where id = ${id}
      and webhook_id = ${webhookId}
      and state <> 'sending'
  `
  await sql`select pg_notify('webhooks', ${webhookId})`
  return needDelivery(sql, webhookId, id)
}

/** Sends a message that means nothing, to this webhook alone. */
export async function sendTest(sql: Sql, { id, appId }: { id: string; appId: string | null }): Promise<Delivery> {
  const deliveryId = await sql.begin(async (tx) => {
    const [event] = await tx<{ id: string }[]>`
      insert into webhook_events (id, type, app_id, data)
      values ('evt_' || replace(gen_random_uuid()::text, '-', ''), 'webhook.test', ${appId}, '{}')
      returning id
    `
    const [delivery] = await tx<{ id: number }[]>`
      insert into webhook_deliveries (webhook_id, event_id)
      values (${id}, ${event?.id ?? ''})
      returning id
    `
    await tx`select pg_notify('webhooks', ${id})`
    return delivery?.id ?? 0
  })
  return needDelivery(sql, id, deliveryId)
}

/** The newest first. `before`: only those with a smaller id. */
export async function listDeliveries(
  sql: Db,
  webhookId: string,
  { before = null, only = null, limit = 20 }: { before?: number | null; only?: number | null; limit?: number },
): Promise<Delivery[]> {
  const rows = await sql<(Omit<Delivery, 'event' | 'attempts'> & Row)[]>`
    select d.id, d.state, case when d.state = 'waiting' then d.due_at end as due_at, d.ended_at,
           e.id as event_id, e.type, e.at as event_at,
           coalesce(
             (
               select jsonb_agg(to_jsonb(a) - 'delivery_id' order by a.id)
               from (select * from webhook_attempts where delivery_id = d.id order by id desc limit 20) a
             ),
             '[]'
           ) as attempts
    from webhook_deliveries d
    join webhook_events e on e.id = d.event_id
    where d.webhook_id = ${webhookId}
      and (${before}::bigint is null or d.id < ${before})
      and (${only}::bigint is null or d.id = ${only})
    order by d.id desc
    limit ${limit}
  `
  return rows.map(({ eventId, type, eventAt, attempts, ...rest }) => ({
    ...rest,
    event: { id: eventId, type, at: eventAt },
    attempts: attempts.map(({ at, duration_ms: durationMs, status, reason }) => ({
      ...{ at: new Date(at), durationMs, status, reason },
    })),
  }))
}

export async function needDelivery(sql: Db, webhookId: string, id: number): Promise<Delivery> {
  const [delivery] = await listDeliveries(sql, webhookId, { only: id })
  if (delivery) return delivery
  throw new AppError(
    'DELIVERY_NOT_FOUND',
    `the webhook ${webhookId} has no delivery ${id}; see: atelier webhooks log ${webhookId}`,
  )
}

/** What was sent, or is to be. Throws WEBHOOK_NOT_FOUND, DELIVERY_NOT_FOUND. */
export async function readEvent(
  sql: Db,
  { appId, webhookId, id }: { appId: string | null; webhookId: string; id: number },
): Promise<{ event: WebhookEvent; format: WebhookFormat }> {
  const { format } = await needWebhook(sql, appId, webhookId)
  const { event } = await needDelivery(sql, webhookId, id)
  const [row] = await sql<{ data: EventData }[]>`select data from webhook_events where id = ${event.id}`
  return { event: { ...event, data: row?.data ?? {} }, format }
}

const keptForDays = 30

/** Forgets what happened more than thirty days ago, and with it whom it was told. */
export async function pruneWebhookEvents(sql: Db): Promise<void> {
  await sql`delete from webhook_events where at < now() - make_interval(days => ${keptForDays})`
}

type Row = {
  eventId: string
  type: string
  eventAt: Date
  attempts: { at: string; duration_ms: number; status: number | null; reason: string | null }[]
}
