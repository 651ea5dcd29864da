import { z } from '@hono/zod-openapi'
import { type LogLine, readBuildLog } from '../build-logs.ts'
import type { Deployment } from '../deployments.ts'
import { type FollowUntil, followBuildLog } from '../followed-log.ts'
import { errorJson } from './answers.ts'
import type { Call } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { errorBody } from './error-response.ts'
import { type StreamEvent, streamEvents } from './event-stream.ts'

export const movedSinceJson = z
  .object({
    env: z.array(z.string()).openapi({ description: 'names of variables that are others now' }),
    migrations: z.array(z.string()).openapi({ description: 'that were applied by later deployments' }),
  })
  .openapi('MovedSince')

const startJson = z.object({ type: z.literal('start'), deployment: deploymentJson })

const logJson = z.object({ type: z.literal('log'), seq: z.number(), at: z.string(), text: z.string() })

/** The last event of every stream that has an end. */
export const endJson = z
  .object({
    type: z.literal('end'),
    deployment: deploymentJson.nullable(),
    ok: z.boolean(),
    error: errorJson.shape.error.optional().openapi({ description: 'when `ok` is false' }),
    moved_since: movedSinceJson.optional().openapi({ description: 'of an earlier version that is live again' }),
  })
  .openapi('EndEvent')

/** What a followed deployment says: its name first, then its log, then how it ended. */
export const progressJson = z.union([startJson, logJson, endJson]).openapi('ProgressEvent')

export type ProgressEvent = z.infer<typeof progressJson>

/** From which log line (a seq) on, and how far. */
export type Following = { after?: number; until?: FollowUntil }

/** Streams a deployment until it takes traffic, or to the verdict of its rollout. Whoever stops listening ends only the stream. */
export function followDeployment(call: Call, deployment: Deployment, following: Following = {}): Response {
  const response = streamEvents(call, (signal) => progressOf(call, deployment, { ...following, signal }))
  return withProgressPlace(response, deployment, following.until)
}

/** Says where the same progress can be had again. */
export function withProgressPlace(response: Response, { id }: Pick<Deployment, 'id'>, until?: FollowUntil): Response {
  const query = until ? `follow=true&until=${until}` : 'follow=true'
  response.headers.set('content-location', `/api/platform/deployments/${id}/logs?${query}`)
  return response
}

/** The deployment whose progress an answer is; null: none. */
export function readProgressPlace({ headers }: Response): { id: string; until: string | null } | null {
  const place = headers.get('content-location') ?? ''
  const [, id, until = null] =
    /^\/api\/platform\/deployments\/(\w+)\/logs\?follow=true(?:&until=(\w+))?$/.exec(place) ?? []
  return id ? { id, until } : null
}

/** The log as it is now; `end` only when the deployment has ended. */
export async function* logSoFar(call: Call, deployment: Deployment, after: number): AsyncGenerator<StreamEvent> {
  let seen = after
  for (;;) {
    const lines = await readBuildLog(call.sql, deployment.id, { after: seen })
    if (lines.length === 0) return
    seen = lines.at(-1)?.seq ?? seen
    yield* lines.map(logEvent)
  }
}

async function* progressOf(
  { sql, config }: Call,
  deployment: Deployment,
  { signal, ...following }: Following & { signal: AbortSignal },
): AsyncGenerator<StreamEvent> {
  yield { id: null, data: { type: 'start', deployment: toJson(deployment, config) } satisfies ProgressEvent }
  for await (const followed of followBuildLog(sql, deployment.id, { ...following, signal })) {
    if ('lines' in followed) yield* followed.lines.map(logEvent)
    else yield { id: null, data: endEvent(followed.end, config) }
  }
}

function logEvent({ seq, at, text }: LogLine): StreamEvent {
  return { id: seq, data: { type: 'log', seq, at: at.toISOString(), text } satisfies ProgressEvent }
}

function endEvent(deployment: Deployment | null, config: Call['config']): ProgressEvent {
  if (!deployment)
    return {
      type: 'end',
      deployment: null,
      ok: false,
      ...errorBody('DEPLOYMENT_NOT_FOUND', 'the deployment was deleted'),
    }
  const shown = toJson(deployment, config)
  if (!isLost.includes(deployment.state)) return { type: 'end', deployment: shown, ok: true }
  const code = deployment.errorCode ?? (deployment.state === 'cancelled' ? 'BUILD_CANCELLED' : 'BUILD_FAILED')
  return { type: 'end', deployment: shown, ok: false, ...errorBody(code, deployment.stateReason ?? deployment.state) }
}

const isLost: Deployment['state'][] = ['failed', 'cancelled', 'rolled_back']
