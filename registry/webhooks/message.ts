import { appUrl, type Config } from '../config.ts'
import { shortVersion } from '../version.ts'
import type { WebhookFormat } from './webhooks.ts'

/** As the database keeps it: deployment and preview with their host label. */
export type WebhookEvent = { id: string; type: string; at: Date; data: EventData }
type Told = { app_id: string; label: string; branch: string }
export type EventData = {
  deployment?: Told & { number: number; version: string; environment: string; subject: string | null }
  preview?: Told
  rollout?: { percent: number | null; state: string }
  webhook?: { name: string; address: string }
  by?: string
  reason?: string | null
}

/** What is sent, the same each time: JSON with `type`, `timestamp` and `data`, or what Slack and its like show as a message. */
export function renderMessage(event: WebhookEvent, format: WebhookFormat, config: Config): string {
  if (format === 'slack') return JSON.stringify({ text: slackText(event, config) })
  const { deployment, preview, ...rest } = event.data
  const data = {
    ...(deployment && { deployment: withUrl(deployment, config) }),
    ...(preview && { preview: withUrl(preview, config) }),
    ...rest,
  }
  return JSON.stringify({ type: event.type, timestamp: event.at.toISOString(), data })
}

function withUrl<T extends Told>({ label, ...rest }: T, config: Config) {
  return { ...rest, url: appUrl(config, label) }
}

const done: Record<string, string> = {
  'deployment.queued': 'waits to be built',
  'deployment.building': 'is being built',
  'deployment.built': 'is built',
  'deployment.uploading': 'is being brought out',
  'deployment.canary': 'has its first visitors',
  'deployment.live': 'is live',
  'deployment.superseded': 'made room for a newer version',
  'deployment.rolled_back': 'was taken back',
  'deployment.failed': 'failed',
  'deployment.cancelled': 'was cancelled',
  'deployment.removed': 'was removed',
  'preview.created': 'has a preview',
  'preview.removed': 'has no preview any more',
  'webhook.test': 'This is a test; messages of Atelier arrive here.',
}

// hello v17 (3f2a91c) of main is live: http://hello.apps.example.com
function slackText({ type, data }: WebhookEvent, config: Config): string {
  const { deployment, preview, rollout, webhook, reason, by } = data
  if (webhook && type === 'webhook.disabled')
    return `The webhook ${plain(webhook.name)} (${plain(webhook.address)}) is disabled: ${plain(reason ?? '')}`
  const what = done[type] ?? (rollout ? rolloutText(type, rollout.percent) : type)
  const place = deployment ?? preview
  if (!place) return what
  const version = deployment ? ` v${deployment.number} (${plain(shortVersion(deployment.version))})` : ''
  const isThere = ['deployment.live', 'deployment.canary', 'preview.created'].includes(type)
  const why = isThere ? ` <${appUrl(config, place.label)}>` : reason ? ` ${plain(reason)}` : ''
  const who = by && by !== 'platform' && type === 'deployment.queued' ? `, by ${plain(by)}` : ''
  return `*${plain(place.app_id)}*${version} of ${plain(place.branch)} ${what}${why ? ':' : ''}${why}${who}`
}

function rolloutText(type: string, percent: number | null): string {
  return `${percent === null ? '' : `has ${percent} % of the traffic, `}${type.slice('rollout.'.length).replaceAll('_', ' ')}`
}

// Of what others wrote nothing is a link, a mention or markup (Slack's rules for escaping), and it is one line.
function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]+/gu, ' ')
    .slice(0, 500)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[*_~`]/g, '\u200b$&')
}
