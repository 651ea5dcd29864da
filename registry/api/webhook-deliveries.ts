import { z } from '@hono/zod-openapi'
import { AppError } from '../errors.ts'
import { type Delivery, listDeliveries, needDelivery, readEvent, redeliver, sendTest } from '../webhooks/deliveries.ts'
import { renderMessage } from '../webhooks/message.ts'
import { needWebhook, type Webhook } from '../webhooks/webhooks.ts'
import { answersJson } from './answers.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { type Route, route } from './route.ts'
import { inBothPlaces } from './webhook-place.ts'

const deliveryJson = z
  .object({
    id: z.number(),
    state: z.enum(['waiting', 'sending', 'delivered', 'failed']),
    event: z.object({ id: z.string(), type: z.string(), at: z.string() }),
    due_at: z.string().nullable().openapi({ description: 'when it is sent next' }),
    ended_at: z.string().nullable(),
    attempts: z.array(
      z.object({
        at: z.string(),
        duration_ms: z.number(),
        status: z.number().nullable().openapi({ description: 'null: no answer came' }),
        reason: z.string().nullable().openapi({ description: 'why it does not count as taken' }),
      }),
    ),
  })
  .openapi('Delivery')

const list = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'get',
    path: `${prefix}/{webhook}/deliveries`,
    summary: `List what was sent to a webhook ${of}, the newest first, and how it went; never what the receiver said`,
    policy: policyTo('look'),
    params: paramsOfOne,
    query: z.strictObject(pageQuery(100, 20)),
    answers: answersJson('a page of them', z.object({ deliveries: z.array(deliveryJson), next: nextField })),
    async handle({ params, query }, { sql }) {
      const { id } = await needWebhook(sql, params.app ?? null, params.webhook)
      const [before = null] = readCursor(query.cursor, z.tuple([z.int().positive()])) ?? []
      const found = await listDeliveries(sql, id, { before, limit: query.limit + 1 })
      const { shown, next } = pageOf(found, query.limit, ({ id }) => [id])
      return Response.json({ deliveries: shown.map(toJson), next })
    },
  }),
)

const show = inBothPlaces(({ prefix, of, policyTo, paramsOfDelivery }) =>
  route({
    method: 'get',
    path: `${prefix}/{webhook}/deliveries/{delivery}`,
    summary: `Show what was sent to a webhook ${of}, with its body`,
    policy: policyTo('look'),
    params: paramsOfDelivery,
    answers: answersJson('the delivery', deliveryJson.extend({ body: z.string() })),
    async handle({ params }, { sql, config }) {
      const appId = params.app ?? null
      const { event, format } = await readEvent(sql, { appId, webhookId: params.webhook, id: params.delivery })
      const delivery = await needDelivery(sql, params.webhook, params.delivery)
      return Response.json({ ...toJson(delivery), body: renderMessage(event, format, config) })
    },
  }),
)

const again = inBothPlaces(({ prefix, of, policyTo, paramsOfDelivery }) =>
  route({
    method: 'post',
    path: `${prefix}/{webhook}/deliveries/{delivery}/redeliver`,
    summary: `Send a message to a webhook ${of} again, under the same id`,
    policy: policyTo('change'),
    params: paramsOfDelivery,
    answers: answersJson('the delivery', deliveryJson),
    async handle({ params }, { sql, caller, log }) {
      const webhook = await needWebhook(sql, params.app ?? null, params.webhook)
      refuseIfDisabled(webhook)
      await needDelivery(sql, webhook.id, params.delivery)
      const delivery = await redeliver(sql, webhook.id, params.delivery)
      log.info({ webhook: webhook.id, event: delivery.event.id, by: caller.name }, 'webhook sent again')
      return Response.json(toJson(delivery))
    },
  }),
)

const testing = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'post',
    path: `${prefix}/{webhook}/test`,
    summary: `Send a message that means nothing (webhook.test) to a webhook ${of}, once`,
    policy: policyTo('change'),
    params: paramsOfOne,
    answers: answersJson('the delivery', deliveryJson),
    async handle({ params }, { sql }) {
      const webhook = await needWebhook(sql, params.app ?? null, params.webhook)
      refuseIfDisabled(webhook)
      return Response.json(toJson(await sendTest(sql, webhook)))
    },
  }),
)

export const webhookDeliveryRoutes: Route[] = [...list, ...show, ...again, ...testing]

function refuseIfDisabled({ id, disabledAt, disabledReason }: Webhook): void {
  if (disabledAt)
    throw new AppError(
      'WEBHOOK_DISABLED',
      `the webhook ${id} is disabled (${disabledReason}); first: atelier webhooks enable ${id}`,
    )
}

function toJson({ id, state, event, dueAt, endedAt, attempts }: Delivery): z.infer<typeof deliveryJson> {
  return {
    id,
    state,
    event: { ...event, at: event.at.toISOString() },
    due_at: dueAt?.toISOString() ?? null,
    ended_at: endedAt?.toISOString() ?? null,
    attempts: attempts.map(({ at, durationMs, status, reason }) => ({
      ...{ at: at.toISOString(), duration_ms: durationMs, status, reason },
    })),
  }
}
