import { z } from '@hono/zod-openapi'
import { refuseIfLocked } from '../app-locks.ts'
import { type App, settleProductionBranch } from '../apps.ts'
import { appendBuildLog } from '../build-logs.ts'
import { createDeployment, type Deployment, findByVersion } from '../deployments.ts'
import { awaitRouteSeen } from '../edges.ts'
import { snapshotEnv } from '../env-vars.ts'
import { AppError } from '../errors.ts'
import { type MovedSince, readMovedSince } from '../moved-since.ts'
import { hasPrerenderedPages } from '../prerendered.ts'
import { prepareAndRollBack, refuseIfPruned } from '../rollback.ts'
import { findRolloutOfApp, type Order, promoteRollout } from '../rollout-commands.ts'
import { refuseIfSourceGone } from '../sources.ts'
import type { Sql } from '../sql.ts'
import { shortVersion } from '../version.ts'
import { answersStream } from './answers.ts'
import { type Call, nameOf } from './call.ts'
import { toJson } from './deployment-json.ts'
import { streamEvents } from './event-stream.ts'
import { appName, line, ofVersion, reason } from './fields.ts'
import { followDeployment, type ProgressEvent, progressJson, withProgressPlace } from './progress.ts'
import { differingPublicNames } from './public-env.ts'
import { route } from './route.ts'

// POST /api/platform/promote   { "app_id": "marketing", "to": "3f2a91c" }
export const promoteRoute = route({
  method: 'post',
  path: '/promote',
  summary:
    'Give the new version of a rollout a share of the traffic, or make a preview or an earlier version production',
  policy: { action: 'deploy', on: 'body' },
  body: z.strictObject({
    app_id: appName,
    to: z.union([z.number(), line(80)]).openapi({
      description: 'a share of the traffic in percent (25), or a version (3f2a91c, v17)',
      example: '3f2a91c',
    }),
    of: ofVersion,
    reason: reason.nullish(),
  }),
  audit: (body) => body,
  answers: answersStream(
    'progress until the version is live or has failed; of an earlier version `end` says what has moved since it was made (`moved_since`)',
    progressJson,
  ),
  async handle({ body }, call) {
    const to = String(body.to)
    const percent = readPercent(to)
    if (percent !== null) return promoteTo(call, percent, body)
    if (body.of != null) throw new AppError('REQUEST_INVALID', 'body.of: it goes with a share of the traffic')
    const app = call.app.id
    const candidate = await findCandidate(call.sql, app)
    if (candidate && (await findByVersion(call.sql, app, to)).some(({ id }) => id === candidate))
      return promoteTo(call, 100, { of: to, reason: body.reason })
    await refuseIfLocked(call.sql, app, nameOf(call.caller))
    const earlier = (await findByVersion(call.sql, app, to)).find(({ state }) => wasLive.includes(state))
    if (earlier) return flip(call, earlier)

    const [preview] = (await findByVersion(call.sql, app, to, 'preview')).filter(
      ({ buildId, state }) => buildId && state !== 'failed',
    )
    if (!preview)
      throw new AppError('VERSION_NOT_FOUND', `${app} has no built version ${to}; see: atelier deploys --app ${app}`)
    return promotePreview(call, preview)
  },
})

// `25`, `25%`, 25. A version is never that short.
function readPercent(to: string): number | null {
  const [, digits] = /^(\d{1,3}(?:\.\d+)?)\s*%?$/.exec(to) ?? []
  if (digits === undefined) return null
  const percent = Number(digits)
  if (Number.isInteger(percent) && percent >= 1 && percent <= 100) return percent
  throw new AppError('REQUEST_INVALID', `body.to: ${to} is no share of the traffic; it is a whole number from 1 to 100`)
}

async function findCandidate(sql: Sql, app: string): Promise<string | null> {
  return (await findRolloutOfApp(sql, app))?.toDeployment ?? null
}

async function promoteTo(
  call: Call & { app: App },
  percent: number,
  why: Pick<Order, 'of' | 'reason'>,
): Promise<Response> {
  const { sql, config, caller, log } = call
  const order = { by: nameOf(caller), of: why.of, reason: why.reason }
  const { candidate } = await promoteRollout(sql, call.app.id, { percent, config, ...order })
  await awaitRouteSeen(sql, candidate.id)
  log.info({ app: call.app.id, deployment: candidate.id, percent, by: caller.name }, 'rollout promoted')
  return startAndEnd(call, candidate)
}

const wasLive: Deployment['state'][] = ['live', 'superseded', 'rolled_back']

async function flip(call: Call, target: Deployment): Promise<Response> {
  await refuseIfPruned(call.sql, target)
  const { live } = await prepareAndRollBack(call.sql, target, { by: nameOf(call.caller), reason: 'promote' })
  return startAndEnd(call, live, { moved_since: await readMovedSince(call.sql, live) })
}

// A promotion that takes no time is told in the shape of one that does.
function startAndEnd(call: Call, promoted: Deployment, more: { moved_since?: MovedSince } = {}): Response {
  const deployment = toJson(promoted, call.config)
  const response = streamEvents(call, async function* () {
    yield { id: null, data: { type: 'start', deployment } satisfies ProgressEvent }
    yield { id: null, data: { type: 'end', deployment, ok: true, ...more } satisfies ProgressEvent }
  })
  return withProgressPlace(response, promoted)
}

async function promotePreview(call: Call, preview: Deployment): Promise<Response> {
  const { sql, store, key, queue, caller, log } = call
  const app = preview.appId
  if (preview.options.fork)
    throw new AppError(
      'FORK_UNTRUSTED',
      `${shortVersion(preview.version)} is a fork's and was never built with what ${app} keeps secret; merge it, and deploy what that makes`,
    )
  const production = { appId: app, environment: 'production' as const }
  const envSnapshot = await snapshotEnv(sql, { app, environment: 'production' })
  const reasons = [
    ...differingNames(differingPublicNames(preview, { ...production, envSnapshot }, key)),
    ...(preview.buildId && (await hasPrerenderedPages(sql, store, preview.buildId)) ? [prerendered] : []),
  ]
  if (reasons.length > 0) await refuseIfSourceGone(sql, store, preview)
  else await refuseIfPruned(sql, preview)

  const branch = (await settleProductionBranch(sql, app, preview.branch)) ?? 'main'
  const deployment = await createDeployment(sql, {
    app,
    target: { environment: 'production', branch, label: app },
    version: preview.version,
    source: 'redeploy',
    by: nameOf(caller),
    sourceKey: preview.sourceKey,
    sourceTree: preview.sourceTree,
    ...(reasons.length > 0 ? { options: { forceBuild: true } } : { buildId: preview.buildId }),
  })
  await appendBuildLog(sql, deployment.id, reasons)
  log.info({ app, deployment: deployment.id, of: preview.id, by: caller.name }, 'preview promoted')
  await queue.enqueueBuild(deployment)
  return followDeployment(call, deployment)
}

const prerendered = '       its prerendered pages were rendered with what the preview can read: built again'

function differingNames(names: string[]): string[] {
  if (names.length === 0) return []
  const verb = names.length === 1 ? 'has another value' : 'have other values'
  return [`       ${names.join(', ')} ${verb} in production and would be part of its files: built again`]
}
