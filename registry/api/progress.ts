import { type LogLine, readBuildLog } from '../build-logs.ts'
import type { Deployment } from '../deployments.ts'
import { type FollowUntil, followBuildLog } from '../followed-log.ts'
import type { MovedSince } from '../moved-since.ts'
import type { Call } from './call.ts'
import { type DeploymentJson, toJson } from './deployment-json.ts'
import { errorBody } from './error-response.ts'
import { type StreamEvent, streamEvents } from './event-stream.ts'

/** What a followed deployment says: its name first, then its log, then how it ended. */
export type ProgressEvent =
  | { type: 'start'; deployment: DeploymentJson }
  | { type: 'log'; seq: number; at: string; text: string }
  | {
      type: 'end'
      deployment: DeploymentJson | null
      ok: boolean
      error?: { code: string; message: string }
      /** Of an earlier version that is live again. */
      moved_since?: MovedSince
    }

/** From which log line (a seq) on, and how far. */
export type Following = { after?: number; until?: FollowUntil }

/** Streams a deployment until it takes traffic, or to the verdict of its rollout. Whoever stops listening ends only the stream. */
export function followDeployment(call: Call, deployment: Deployment, following: Following = {}): Response {
  return streamEvents(call, (signal) => progressOf(call, deployment, { ...following, signal }))
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
