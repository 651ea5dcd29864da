import { z } from '@hono/zod-openapi'
import { findRolloutsToShow, readRolloutView } from '../rollout-view.ts'
import { channels } from '../routes.ts'
import { Wakeup } from '../wakeup.ts'
import { answersStream } from './answers.ts'
import type { Call } from './call.ts'
import { toJson } from './deployment-json.ts'
import { errorBody } from './error-response.ts'
import { type StreamEvent, streamEvents } from './event-stream.ts'
import { appName, flag } from './fields.ts'
import { endJson } from './progress.ts'
import { rolloutJson, rolloutToJson } from './rollout-json.ts'
import { route } from './route.ts'

// GET /api/platform/apps/marketing/rollout?follow=true

const everyMs = 1_000

const shown = z.object({ rollout: rolloutJson.nullable() })
const changeJson = shown.extend({ type: z.literal('rollout') }).openapi('RolloutEvent')

export const showRolloutRoute = route({
  method: 'get',
  path: '/apps/{app}/rollout',
  summary:
    "Show or follow an app's rollout: the one under way, or one that was taken back and after which nothing else came out",
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject({
    follow: flag.default(false).openapi({
      description:
        'true: a `rollout` event whenever something has changed, and `end` with the verdict, as lines of JSON or server-sent events',
    }),
  }),
  whole: 'it is one rollout, and of its steps the newest 200',
  answers: answersStream('the rollout, or null', z.union([changeJson, endJson]), { orJson: shown }),
  async handle({ query }, call) {
    const [id = null] = await findRolloutsToShow(call.sql, [call.app.id])
    if (query.follow) return streamEvents(call, (signal) => changesOf(call, id, signal))
    const view = id === null ? null : await readRolloutView(call.sql, id)
    return Response.json({ rollout: view && rolloutToJson(view, call.config) })
  },
})

async function* changesOf(call: Call, id: string | null, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const { sql, config } = call
  await using wakeup = await Wakeup.on(sql, [channels.rollouts, channels.rolloutReports], (payload) => payload === id)
  let shown = ''
  while (!signal.aborted) {
    const view = id === null ? null : await readRolloutView(sql, id)
    const rollout = view && rolloutToJson(view, config)
    const now = JSON.stringify(rollout)
    if (now !== shown) yield { id: null, data: { type: 'rollout', rollout } }
    shown = now
    if (!view || view.rollout.endedAt !== null) return yield { id: null, data: endOf(view, config) }
    await wakeup.next({ timeoutMs: everyMs, signal })
  }
}

function endOf(view: Awaited<ReturnType<typeof readRolloutView>>, config: Call['config']): StreamEvent['data'] {
  if (!view) return { type: 'end', deployment: null, ok: true }
  const { rollout, to } = view
  const deployment = toJson(to, config)
  if (rollout.state === 'done') return { type: 'end', deployment, ok: true }
  const code = to.errorCode ?? 'DEPLOYMENT_STATE'
  return { type: 'end', deployment, ok: false, ...errorBody(code, rollout.sentence ?? rollout.state) }
}
