import { z } from '@hono/zod-openapi'
import { parseCallableUrl } from '../egress/outbound-http.ts'
import {
  createWebhook,
  deleteWebhook,
  enableWebhook,
  listWebhooks,
  mostWebhooks,
  needWebhook,
  rotateSecret,
  type Webhook,
} from '../webhooks/webhooks.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { environment, line } from './fields.ts'
import { type Route, route } from './route.ts'
import { inBothPlaces } from './webhook-place.ts'

// POST /api/platform/apps/marketing/webhooks   { "url": "https://receiver.example/hook", "events": ["deployment.live"] }

const deploymentTypes = 'queued|building|built|uploading|canary|live|superseded|rolled_back|failed|cancelled|removed'
const eventPattern = z
  .string()
  .regex(
    new RegExp(
      `^(\\*|(deployment|rollout|preview|webhook)\\.\\*|deployment\\.(${deploymentTypes})|rollout\\.[a-z_]{1,40}|preview\\.(created|removed)|webhook\\.disabled)$`,
    ),
    'must be a type such as deployment.live, deployment.* or *; docs/webhooks.md has them all',
  )

const outcomes = [
  'deployment.live',
  'deployment.failed',
  'deployment.rolled_back',
  'deployment.canary',
  'webhook.disabled',
]

const webhookJson = z
  .object({
    id: z.string(),
    app_id: z.string().nullable().openapi({ description: 'null: it is told of every app' }),
    name: z.string(),
    address: z.string().openapi({ description: 'without what may be a secret in it' }),
    format: z.enum(['json', 'slack']),
    events: z.array(z.string()),
    environment: environment.nullable(),
    former_secret_until: z.string().nullable().openapi({ description: 'until then the secret before signs, too' }),
    disabled_at: z.string().nullable(),
    disabled_reason: z.string().nullable(),
    created_at: z.string(),
    created_by: z.string(),
  })
  .openapi('Webhook')
const withSecret = webhookJson.extend({ secret: z.string() }).openapi('NewWebhook')

const noStore = { headers: { 'cache-control': 'no-store' } }

const list = inBothPlaces(({ prefix, of, policyTo, params }) =>
  route({
    method: 'get',
    path: prefix,
    summary: `List the webhooks ${of}; addresses without what may be a secret in them`,
    policy: policyTo('look'),
    params,
    whole: `there are at most ${mostWebhooks}`,
    answers: answersJson('webhooks', z.object({ webhooks: z.array(webhookJson) })),
    async handle({ params }, { sql }) {
      return Response.json({ webhooks: (await listWebhooks(sql, params.app ?? null)).map(toJson) })
    },
  }),
)

const create = inBothPlaces(({ prefix, of, policyTo, params }) =>
  route({
    method: 'post',
    path: prefix,
    summary: `Create a webhook ${of}; the secret that signs its messages is in the answer and nowhere else`,
    policy: policyTo('change'),
    params,
    body: z.strictObject({
      url: line(2000).openapi({ example: 'https://receiver.example/hook' }),
      name: line(80).optional().openapi({ description: 'default: the host of the address' }),
      format: z.enum(['json', 'slack']).default('json').openapi({ description: 'slack: messages for people' }),
      events: z
        .array(eventPattern)
        .min(1)
        .max(50)
        .optional()
        .openapi({ description: 'default: all; for slack what became of a version' }),
      environment: environment.nullish().openapi({ description: 'default: of both' }),
    }),
    // Not the address: it may be a secret.
    audit: ({ url: _, ...rest }) => rest,
    answers: answersJson('the webhook and its secret', withSecret),
    async handle({ params, body }, { sql, key, config, caller, log }) {
      const address = parseCallableUrl(body.url, config)
      const { webhook, secret } = await createWebhook(
        sql,
        {
          appId: params.app ?? null,
          address: address.href,
          name: body.name ?? address.host,
          format: body.format,
          events: body.events ?? (body.format === 'slack' ? outcomes : ['*']),
          environment: body.environment ?? null,
          by: nameOf(caller),
        },
        key,
      )
      log.info({ webhook: webhook.id, app: webhook.appId, by: caller.name }, 'webhook created')
      return Response.json({ ...toJson(webhook), secret }, noStore)
    },
  }),
)

const show = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'get',
    path: `${prefix}/{webhook}`,
    summary: `Show a webhook ${of}`,
    policy: policyTo('look'),
    params: paramsOfOne,
    whole: 'it is one webhook',
    answers: answersJson('the webhook', webhookJson),
    async handle({ params }, { sql }) {
      return Response.json(toJson(await needWebhook(sql, params.app ?? null, params.webhook)))
    },
  }),
)

const remove = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'delete',
    path: `${prefix}/{webhook}`,
    summary: `Delete a webhook ${of}, with what waits for it and its log`,
    policy: policyTo('change'),
    params: paramsOfOne,
    answers: answersNothing('nothing is sent there any more'),
    async handle({ params }, { sql, caller, log }) {
      const { id, appId } = await needWebhook(sql, params.app ?? null, params.webhook)
      await deleteWebhook(sql, id)
      log.info({ webhook: id, app: appId, by: caller.name }, 'webhook deleted')
      return new Response(null, { status: 204 })
    },
  }),
)

const rotate = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'post',
    path: `${prefix}/{webhook}/rotate`,
    summary: `Give a webhook ${of} a new secret; for a day the one before signs every message, too`,
    policy: policyTo('change'),
    params: paramsOfOne,
    answers: answersJson('the webhook and its new secret', withSecret),
    async handle({ params }, { sql, key, caller, log }) {
      const { id } = await needWebhook(sql, params.app ?? null, params.webhook)
      const { webhook, secret } = await rotateSecret(sql, id, key)
      log.info({ webhook: id, app: webhook.appId, by: caller.name }, 'webhook secret rotated')
      return Response.json({ ...toJson(webhook), secret }, noStore)
    },
  }),
)

const enable = inBothPlaces(({ prefix, of, policyTo, paramsOfOne }) =>
  route({
    method: 'post',
    path: `${prefix}/{webhook}/enable`,
    summary: `Enable a webhook ${of} that was disabled; what waited for it is sent`,
    policy: policyTo('change'),
    params: paramsOfOne,
    answers: answersJson('the webhook', webhookJson),
    async handle({ params }, { sql, caller, log }) {
      const { id, appId } = await needWebhook(sql, params.app ?? null, params.webhook)
      await enableWebhook(sql, id)
      log.info({ webhook: id, app: appId, by: caller.name }, 'webhook enabled')
      return Response.json(toJson(await needWebhook(sql, appId, id)))
    },
  }),
)

export const webhookRoutes: Route[] = [...list, ...create, ...show, ...remove, ...rotate, ...enable]

function toJson(webhook: Webhook): z.infer<typeof webhookJson> {
  return {
    id: webhook.id,
    app_id: webhook.appId,
    name: webhook.name,
    address: webhook.shownAddress,
    format: webhook.format,
    events: webhook.events,
    environment: webhook.environment,
    former_secret_until: webhook.formerUntil?.toISOString() ?? null,
    disabled_at: webhook.disabledAt?.toISOString() ?? null,
    disabled_reason: webhook.disabledReason,
    created_at: webhook.createdAt.toISOString(),
    created_by: webhook.createdBy,
  }
}
