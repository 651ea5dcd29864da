import { z } from '@hono/zod-openapi'
import { type HistoryEntry, pageHistory } from '../deployment-history.ts'
import { cancelDeployment, type Deployment, findByVersion, nextQueued, pageDeployments } from '../deployments.ts'
import { readHosts } from '../edge-hosts.ts'
import { appsWhere } from '../rights.ts'
import type { Db } from '../sql.ts'
import { answersJson, answersStream } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, placeInTime, readCursor } from './cursor.ts'
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
    ...pageQuery(200, 20),
  }),
  answers: answersJson('a page of them', z.object({ deployments: z.array(deploymentJson), next: nextField })),
  async handle({ query }, { app, sql, caller, config }) {
    const only = appsWhere(caller, 'read')
    const { shown, next } =
      app && query.version
        ? pageOfVersion(await findOfVersion(sql, app.id, query.version), query)
        : await pageOfAll(sql, { app: app?.id ?? null, only }, query)
    const hosts = await readHosts(sql, shown)
    return Response.json({ deployments: shown.map((deployment) => toJson(deployment, config, hosts)), next })
  },
})

type PageWanted = { limit: number; cursor?: string | undefined }
type Page = { shown: Deployment[]; next: string | null }

async function pageOfAll(
  sql: Db,
  of: { app: string | null; only: string[] | null },
  { limit, cursor }: PageWanted,
): Promise<Page> {
  const after = readCursor(cursor, placeInTime)
  return pageOf(await pageDeployments(sql, { ...of, after, limit: limit + 1 }), limit, ({ micros, id }) => [micros, id])
}

const placeOfVersion = z.tuple([z.enum(['production', 'preview']), z.string().regex(/^\d{1,9}$/)])

// Production before previews, in each the newest first.
function pageOfVersion(all: Deployment[], { limit, cursor }: PageWanted): Page {
  const [environment, number] = readCursor(cursor, placeOfVersion) ?? []
  const follows = (one: Deployment) =>
    one.environment === environment ? one.number < Number(number) : environment !== 'preview'
  const rest = environment === undefined ? all : all.filter(follows)
  return pageOf(rest, limit, (one) => [one.environment, String(one.number)])
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
  query: z.strictObject(pageQuery(500, 200)),
  answers: answersJson('events, oldest first', z.object({ events: z.array(eventJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { deployment, sql }) {
    const after = readCursor(cursor, placeInTime)
    const found = await pageHistory(sql, deployment.id, { after, limit: limit + 1 })
    const { shown, next } = pageOf(found, limit, ({ micros, key }) => [micros, key])
    return Response.json({ events: shown.map(eventToJson), next })
  },
})

function eventToJson({ at, from, to, rollout, by, reason, durationMs }: HistoryEntry): z.infer<typeof eventJson> {
  return { at: at.toISOString(), from, to, rollout, by, reason, duration_ms: durationMs }
}

export const deploymentLogRoute = route({
  method: 'get',
  path: '/deployments/{id}/logs',
  summary: 'Read or follow a build log from any line on',
  policy: { action: 'read', on: 'deployment' },
  params: idInPath,
  whole: 'its lines come one by one, as many as a build may write, from the line after `after` on',
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
