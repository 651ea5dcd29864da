import { z } from '@hono/zod-openapi'
import { awaitRouteSeen, countNotFollowing } from '../edges.ts'
import { abortRollout, type Ordered, pauseRollout, resumeRollout } from '../rollout-commands.ts'
import { answersJson } from './answers.ts'
import { type Call, nameOf } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, ofVersion, reason } from './fields.ts'
import { route } from './route.ts'

// POST /api/platform/pause   { "app_id": "marketing", "of": "v17", "reason": "sale at noon" }

const order = z.strictObject({ app_id: appName, of: ofVersion, reason: reason.nullish() })

const ordered = z.object({ deployment: deploymentJson, state: z.string(), percent: z.number() })

const answers = answersJson(
  'the new version, the state of its rollout, and its share of the traffic in percent',
  ordered,
)

export const pauseRoute = route({
  method: 'post',
  path: '/pause',
  summary: 'Stop the clock of a rollout; the new version keeps the share of the traffic it has',
  policy: { action: 'deploy', on: 'body' },
  body: order,
  audit: (body) => body,
  answers,
  async handle({ body }, call) {
    return told(call, await pauseRollout(call.sql, call.app.id, orderOf(call, body)), 'rollout paused')
  },
})

export const resumeRoute = route({
  method: 'post',
  path: '/resume',
  summary: 'Let the clock of a paused rollout go on',
  policy: { action: 'deploy', on: 'body' },
  body: order,
  audit: (body) => body,
  answers,
  async handle({ body }, call) {
    return told(call, await resumeRollout(call.sql, call.app.id, orderOf(call, body)), 'rollout resumed')
  },
})

export const abortRoute = route({
  method: 'post',
  path: '/abort',
  summary: 'End a rollout: all traffic is back at the old version when this answers and no proxy is missing',
  policy: { action: 'deploy', on: 'body' },
  body: order,
  audit: (body) => body,
  answers: answersJson(
    'the same, and how many proxies have not followed within a second: these may still send visitors to the new version',
    ordered.extend({ missing: z.number() }),
  ),
  async handle({ body }, call) {
    const ordered = await abortRollout(call.sql, call.app.id, orderOf(call, body))
    await awaitRouteSeen(call.sql, ordered.candidate.id)
    const missing = await countNotFollowing(call.sql, ordered.candidate.id)
    return told(call, { ...ordered, percent: 0 }, 'rollout aborted', { missing })
  },
})

function orderOf({ caller }: Call, { reason, of }: z.infer<typeof order>) {
  return { by: nameOf(caller), reason, of }
}

function told(
  { log, caller, config }: Call,
  { rollout, candidate, percent }: Ordered,
  what: string,
  more: { missing?: number } = {},
): Response {
  const fields = { app: rollout.appId, deployment: candidate.id, rollout: rollout.id, percent, by: caller.name }
  log.info({ ...fields, ...more }, what)
  return Response.json({ deployment: toJson(candidate, config), state: rollout.state, percent, ...more })
}
