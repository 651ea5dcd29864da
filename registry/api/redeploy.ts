import { z } from '@hono/zod-openapi'
import { refuseWhileLocked } from '../app-locks.ts'
import { appendBuildLog } from '../build-logs.ts'
import { createDeployment, type Deployment, findByVersion, findOpenOfRoute, listDeployments } from '../deployments.ts'
import { AppError } from '../errors.ts'
import { findLive } from '../live.ts'
import { refuseIfPruned } from '../rollback.ts'
import { refuseIfSourceGone } from '../sources.ts'
import type { Sql } from '../sql.ts'
import { shortVersion } from '../version.ts'
import { answersStream } from './answers.ts'
import { nameOf } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, branchName, canary, until, versionName } from './fields.ts'
import { followDeployment, progressJson } from './progress.ts'
import { changedPublicNames } from './public-env.ts'
import { route } from './route.ts'

// POST /api/platform/redeploy   { "app_id": "marketing" }    version omitted: what is live
export const redeployRoute = route({
  method: 'post',
  path: '/redeploy',
  summary: 'Put a built version before its users again, with the variables as they are now; builds only when asked to',
  policy: { action: 'deploy', on: 'body' },
  body: z.strictObject({
    app_id: appName,
    version: versionName.nullish(),
    branch: branchName.nullish().openapi({ description: 'the preview of this branch; default: production' }),
    build: z.boolean().default(false).openapi({ description: 'build it again, for variables that are built into it' }),
    force: z.boolean().default(false).openapi({ description: 'build it again without what earlier builds have kept' }),
    follow: z.boolean().default(true),
    until,
    canary,
  }),
  audit: (body) => body,
  answers: answersStream('progress until the deployment is live or has failed', progressJson, {
    atOnce: deploymentJson,
  }),
  async handle({ body }, call) {
    const { app, sql, store, queue, caller, config, log } = call
    const model = await findModel(sql, app.id, { version: body.version ?? null, branch: body.branch ?? null })
    const isBuilt = body.build || body.force
    if (!body.version) await refuseToGoBack(sql, model)
    if (model.environment === 'production') await refuseWhileLocked(sql, app.id)
    if (isBuilt) await refuseIfSourceGone(sql, store, model)
    else await refuseIfPruned(sql, model)
    const deployment = await createDeployment(sql, {
      app: app.id,
      target: { environment: model.environment, branch: model.branch, label: model.label },
      version: model.version,
      source: 'redeploy',
      by: nameOf(caller),
      sourceKey: model.sourceKey,
      sourceTree: model.sourceTree,
      buildId: isBuilt ? null : model.buildId,
      options: {
        ...(isBuilt && { forceBuild: true }),
        ...(body.force && { clearCaches: true }),
        ...(body.canary && { canary: body.canary }),
        ...(model.options.fork && { fork: true }),
      },
    })
    log.info({ app: app.id, deployment: deployment.id, of: model.id, by: caller.name }, 'redeploy accepted')
    if (!isBuilt) await appendBuildLog(sql, deployment.id, warnings(model, deployment))
    await queue.enqueueBuild(deployment)
    return body.follow
      ? followDeployment(call, deployment, { until: body.until })
      : Response.json(toJson(deployment, config), { status: 202 })
  },
})

/** The deployment to do again: one that was built, so that its build can be taken as it is. */
async function findModel(
  sql: Sql,
  app: string,
  { version, branch }: { version: string | null; branch: string | null },
): Promise<Deployment> {
  const isWanted = (deployment: Deployment) =>
    deployment.buildId !== null && (branch === null || deployment.branch === branch)
  if (version !== null) {
    const named = await findByVersion(sql, app, version, branch === null ? 'production' : 'preview')
    const model = named.find(isWanted)
    if (model) return model
    throw new AppError('VERSION_NOT_FOUND', `${app} has no built version ${version}; see: atelier deploys --app ${app}`)
  }
  const live =
    branch === null
      ? await findLive(sql, app)
      : (await listDeployments(sql, { app, limit: 200 })).find((one) => one.state === 'live' && isWanted(one))
  if (live) return live
  const where = branch === null ? `${app} has nothing live` : `${app} has no preview of ${branch}`
  throw new AppError(
    'VERSION_NOT_FOUND',
    `${where} to deploy again; push it first: git push atelier ${branch ?? 'main'}`,
  )
}

// A push under way was begun after what is live. Deploying that again now would cancel the push when it still waits, and when it runs
// come after it and take it back.
async function refuseToGoBack(sql: Sql, model: Deployment): Promise<void> {
  const newer = await findOpenOfRoute(sql, model.routeId)
  if (!newer || newer.version === model.version) return
  throw new AppError(
    'DEPLOYMENT_STATE',
    `${shortVersion(newer.version)} (v${newer.number}) is on its way and would be replaced by the older ${shortVersion(model.version)}; wait for it (atelier logs ${newer.id} -f) or end it (${wayToEnd(newer)}), and then: atelier redeploy`,
  )
}

function wayToEnd({ id, state }: Deployment): string {
  return state === 'canary' ? 'atelier abort' : `atelier cancel ${id}`
}

function warnings(model: Deployment, deployment: Deployment): string[] {
  const names = changedPublicNames(model.envSnapshot, deployment.envSnapshot)
  if (names.length === 0) return []
  return [
    `       ${names.join(', ')} changed and is built into the browser's files; to change it there too: atelier redeploy --build`,
  ]
}
