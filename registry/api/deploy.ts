import { z } from '@hono/zod-openapi'
import { type App, createApp, findApp, settleProductionBranch } from '../apps.ts'
import { targetOfBranch } from '../branches.ts'
import { createDeployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import type { Caller } from '../rights.ts'
import type { Sql } from '../sql.ts'
import { answersStream } from './answers.ts'
import { nameOf } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, branchName, canary, flag, line, until } from './fields.ts'
import { followDeployment, progressJson } from './progress.ts'
import { route } from './route.ts'
import { storeUpload } from './upload.ts'

// POST /api/platform/deploy?app=marketing&version=1.2.3     body: the app's folder as .tar.gz
export const deployRoute = route({
  method: 'post',
  path: '/deploy',
  summary: 'Deploy a folder, sent as .tar.gz; the app is created when it is missing and the token may',
  policy: { action: 'deploy', on: 'query', createsApp: true },
  query: z.strictObject({
    app: appName,
    version: line(80)
      .optional()
      .openapi({ description: 'a release (1.2.3) or a whole git SHA; default: the UTC time' }),
    branch: branchName
      .optional()
      .openapi({ description: 'default: the production branch; pr/42 and others are previews' }),
    follow: flag.default(true).openapi({ description: 'false: answer at once with the deployment and build on' }),
    force: flag.default(false).openapi({ description: 'build without what earlier builds have kept' }),
    unlock: flag.default(false).openapi({ description: "lift the lock of the app's production first" }),
    until,
    canary,
  }),
  streamedBody: { type: 'application/gzip' },
  answers: answersStream('progress until the deployment is live or has failed', progressJson, {
    atOnce: deploymentJson,
  }),
  async handle({ query }, call) {
    const { sql, queue, caller, config, log } = call
    const { version, sourceKey } = await storeUpload(
      call.request,
      { app: query.app, version: query.version ?? null },
      call,
    )
    const app = call.app ?? (await provideApp(sql, query.app, caller))
    const branch = query.branch ?? app.productionBranch ?? 'main'
    const productionBranch = await settleProductionBranch(sql, app.id, branch)
    const deployment = await createDeployment(sql, {
      app: app.id,
      target: targetOfBranch({ id: app.id, productionBranch }, branch),
      version,
      source: 'upload',
      by: nameOf(caller),
      sourceKey,
      door: query.unlock ? 'unlocking' : 'by hand',
      options: {
        ...(query.force && { forceBuild: true, clearCaches: true }),
        ...(query.canary && { canary: query.canary }),
      },
    })
    log.info({ app: app.id, deployment: deployment.id, version, by: caller.name }, 'upload accepted')
    await queue.enqueueBuild(deployment)
    return query.follow
      ? followDeployment(call, deployment, { until: query.until })
      : Response.json(toJson(deployment, config), { status: 202 })
  },
})

// Two first uploads of one app may end at the same time.
async function provideApp(sql: Sql, id: string, caller: Caller): Promise<App> {
  try {
    return await createApp(sql, { id, by: nameOf(caller), owner: caller.person?.id ?? null })
  } catch (thrown) {
    const made = thrown instanceof AppError && thrown.code === 'NAME_TAKEN' ? await findApp(sql, id) : null
    if (made) return made
    throw thrown
  }
}
