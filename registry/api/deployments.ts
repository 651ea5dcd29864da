import { z } from '@hono/zod-openapi'
import {
  cancelDeployment,
  type Deployment,
  type DeploymentEvent,
  findByVersion,
  listEvents,
  nextQueued,
  pageDeployments,
} from '../deployments.ts'
import { readHosts } from '../edge-hosts.ts'
import { appsWhere } from '../rights.ts'
import { type Decision, readDecisions } from '../rollout-view.ts'
import type { Db } from '../sql.ts'
import { answersJson, answersStream } from './answers.ts'
import { nameOf } from './call.ts'
import { cursorField, nextField, pageOf, readCursor } from './cursor.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { streamEvents } from './event-stream.ts'
import { appName, count, deploymentId, flag, until, versionName } from './fields.ts'
import { followDeployment, logSoFar, progressJson } from './progress.ts'
import { route } from './route.ts'

const idInPath = z.object({ id: deploymentId })

export const listDeploymentsRoute = route({
  method: 'get',
  path: '/deploys',
  summary: 'List deployments, newest first',
  policy: { action: 'read', on: 'query?' },
  query: z.strictObject({
    app: appName.optional(),
    version: versionName.optional().openapi({ description: 'only deployments of this version; needs app' }),
    limit: count(1, 200).default(20),
    cursor: cursorField,
  }),
  answers: answersJson('a page of them', z.object({ deployments: z.array(deploymentJson), next: nextField })),
  async handle({ query }, { app, sql, caller, config }) {
    const { limit } = query
    const after = readCursor(query.cursor, place)
    const only = appsWhere(caller, 'read')
    const { shown, next } =
      app && query.version
        ? { shown: (await findOfVersion(sql, app.id, query.version)).slice(0, limit), next: null }
        : pageOf(await pageDeployments(sql, { app: app?.id ?? null, only, after, limit: limit + 1 }), limit, placeOf)
    const hosts = await readHosts(sql, shown)
    return Response.json({ deployments: shown.map((deployment) => toJson(deployment, config, hosts)), next })
  },
})

const place = z.tuple([z.string().regex(/^\d{1,16}$/), deploymentId])

function placeOf({ micros, id }: { micros: string; id: string }): [string, string] {
  return [micros, id]
}

async function findOfVersion(sql: Db, app: string, version: string): Promise<Deployment[]> {
  return [...(await findByVersion(sql, app, version)), ...(await findByVersion(sql, app, version, 'preview'))]
}

export const showDeploymentRoute = route({
  method: 'get',
  path: '/deployments/{id}',
  summary: 'Show a deployment',
  policy: { action: 'read', on: 'deployment' },
  params: idInPath,
  answers: answersJson('the deployment', deploymentJson),
  async handle(_, { deployment, sql, config }) {
    return Response.json(toJson(deployment, config, await readHosts(sql, [deployment])))
  },
})

const eventJson = z
  .object({
    at: z.string(),
    from: z.string().nullable(),
    to: z.string().nullable(),
    rollout: z.string().nullable().openapi({
      description: 'what happened to its rollout, where that is no change of state (advance, paused, hold, …)',
    }),
    by: z.string(),
    reason: z.string().nullable(),
    duration_ms: z.number().nullable(),
  })
  .openapi('DeploymentEvent')

export const listEventsRoute = route({
  method: 'get',
  path: '/deployments/{id}/events',
  summary: 'List what happened to a deployment: who moved it, when, why, and how long it had been in its state',
  policy: { action: 'read', on: 'deployment' },
  params: idInPath,
  answers: answersJson('events, oldest first', z.object({ events: z.array(eventJson) })),
  async handle(_, { deployment, sql }) {
    const [moves, decisions] = await Promise.all([listEvents(sql, deployment.id), readDecisions(sql, deployment.id)])
    const events = [...moves.map(moveToJson), ...decisions.map(decisionToJson)]
    return Response.json({ events: events.toSorted((one, other) => (one.at < other.at ? -1 : 1)) })
  },
})

type EventJson = z.infer<typeof eventJson>

function moveToJson({ at, fromState, toState, by, reason, durationMs }: DeploymentEvent): EventJson {
  return { at: at.toISOString(), from: fromState, to: toState, rollout: null, by, reason, duration_ms: durationMs }
}

function decisionToJson({ at, kind, by, sentence }: Decision): EventJson {
  return { at: at.toISOString(), from: null, to: null, rollout: kind, by, reason: sentence, duration_ms: null }
}

export const deploymentLogRoute = route({
  method: 'get',
  path: '/deployments/{id}/logs',
  summary: 'Read or follow a build log from any line on',
  policy: { action: 'read', on: 'deployment' },
  params: idInPath,
  query: z.strictObject({ after: count(0, 1_000_000_000).optional(), follow: flag.default(false), until }),
  answers: answersStream(
    'log lines; with follow=true a `start` event before and an `end` event after them',
    progressJson,
  ),
  async handle({ query }, call) {
    const lastEventId = Number(call.request.headers.get('last-event-id') ?? 0)
    const after = query.after ?? (Number.isSafeInteger(lastEventId) && lastEventId > 0 ? lastEventId : 0)
    if (query.follow) return followDeployment(call, call.deployment, { after, until: query.until })
    return streamEvents(call, () => logSoFar(call, call.deployment, after))
  },
})

export const cancelRoute = route({
  method: 'post',
  path: '/deployments/{id}/cancel',
  summary: 'Cancel a queued or running deployment',
  policy: { action: 'deploy', on: 'deployment' },
  params: idInPath,
  answers: answersJson('the cancelled deployment', deploymentJson),
  async handle(_, { deployment, sql, queue, caller, config }) {
    const cancelled = await cancelDeployment(sql, deployment.id, {
      by: nameOf(caller),
      reason: `cancelled by ${nameOf(caller)}`,
    })
    const next = cancelled.routeId ? await nextQueued(sql, cancelled.routeId) : null
    if (next) await queue.enqueueBuild(next)
    return Response.json(toJson(cancelled, config))
  },
})
