import { z } from '@hono/zod-openapi'
import { appName, line } from './fields.ts'
import type { Policy, Route } from './route.ts'

/** Webhooks are an app's, or the platform's own: the same routes below two paths. */
export type WebhookPlace = {
  prefix: '/apps/{app}/webhooks' | '/webhooks'
  /** Ends a summary: `of an app`. */
  of: string
  policyTo(look: 'look' | 'change'): Policy
  params: z.ZodType<{ app?: string | undefined }>
  paramsOfOne: z.ZodType<{ app?: string | undefined; webhook: string }>
  paramsOfDelivery: z.ZodType<{ app?: string | undefined; webhook: string; delivery: number }>
}

const webhook = line(20).openapi({ example: 'k3v9q0x7m2ab' })
const delivery = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER)

const ofApp: WebhookPlace = {
  prefix: '/apps/{app}/webhooks',
  of: 'of an app',
  policyTo: (what) => ({ action: what === 'look' ? 'read' : 'deploy', on: 'params' }),
  params: z.object({ app: appName }),
  paramsOfOne: z.object({ app: appName, webhook }),
  paramsOfDelivery: z.object({ app: appName, webhook, delivery }),
}

const ofPlatform: WebhookPlace = {
  prefix: '/webhooks',
  of: 'of the platform, told of every app',
  policyTo: () => ({ action: 'admin', on: 'platform' }),
  params: z.object({}),
  paramsOfOne: z.object({ webhook }),
  paramsOfDelivery: z.object({ webhook, delivery }),
}

export function inBothPlaces(make: (place: WebhookPlace) => Route): Route[] {
  return [make(ofApp), make(ofPlatform)]
}
