import { Readable } from 'node:stream'
import { z } from '@hono/zod-openapi'
import { type App, createApp, findApp, settleProductionBranch } from '../apps.ts'
import { addressToKeep } from '../audit.ts'
import { targetOfBranch } from '../branches.ts'
import { createDeployment, type NewDeployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import type { Caller } from '../rights.ts'
import type { Sql } from '../sql.ts'
import { answersStream } from './answers.ts'
import { type Call, nameOf } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, branchName, canary, flag, line, until } from './fields.ts'
import { gitSource, prepareGitSource } from './git-source.ts'
import { followDeployment, progressJson } from './progress.ts'
import { isJson } from './request-input.ts'
import { route } from './route.ts'
import { openServerFolder, serverFolder } from './server-folder.ts'
import { storeUpload } from './upload.ts'

const branch = branchName
  .optional()
  .openapi({ description: 'default: the production branch; pr/42 and others are previews' })
const version = line(80).optional().openapi({
  description: 'a release (1.2.3) or a whole git SHA; default: the UTC time, or the SHA of what was fetched',
})

const fromElsewhere = z.strictObject({
  app_id: appName,
  source: z.union([gitSource, serverFolder]),
  version,
  branch,
  follow: z.boolean().default(true).openapi({ description: 'false: answer at once with the deployment and build on' }),
  force: z.boolean().default(false).openapi({ description: 'build without what earlier builds have kept' }),
  unlock: z.boolean().default(false).openapi({ description: "lift the lock of the app's production first" }),
  until,
  canary,
})

const ofUpload = z.strictObject({
  app: appName.optional().openapi({ description: 'of an uploaded folder' }),
  version,
  branch,
  follow: flag.default(true).openapi({ description: 'false: answer at once with the deployment and build on' }),
  force: flag.default(false).openapi({ description: 'build without what earlier builds have kept' }),
  unlock: flag.default(false).openapi({ description: "lift the lock of the app's production first" }),
  until,
  canary,
})

// POST /api/platform/deploy?app=marketing&version=1.2.3     body: the app's folder as .tar.gz
// POST /api/platform/deploy   { "app_id": "marketing", "source": { "git": "https://git.example/marketing.git", "ref": "main" } }
export const deployRoute = route({
  method: 'post',
  path: '/deploy',
  summary:
    'Deploy a folder, sent as .tar.gz, a commit of a git host, or a folder of the server; the app is created when it is missing and the token may',
  policy: { action: 'deploy', on: 'query', createsApp: true },
  query: ofUpload,
  body: fromElsewhere,
  streamedBody: { type: 'application/gzip' },
  audit: ({ source, app_id, branch }) => ({
    app_id,
    branch,
    source: 'git' in source ? { git: addressToKeep(source.git), ref: source.ref } : source,
  }),
  answers: answersStream('progress until the deployment is live or has failed', progressJson, {
    atOnce: deploymentJson,
  }),
  async handle({ query, body }, call) {
    if (!isJson(call.request)) return deployUpload(query, call)
    if (new URL(call.request.url).search)
      throw new AppError('REQUEST_INVALID', 'query: with a JSON body, everything stands in the body')
    return deployFromElsewhere(body, call)
  },
})

type Deploying = Call & { app: App | null }
type Options = Pick<z.infer<typeof fromElsewhere>, 'branch' | 'follow' | 'force' | 'unlock' | 'until' | 'canary'>
type Source = Pick<NewDeployment, 'version' | 'source' | 'sourceKey' | 'sourceTree' | 'gitOrigin'>

async function deployUpload(query: z.infer<typeof ofUpload>, call: Deploying): Promise<Response> {
  const { app = '', version = null } = query
  const { body } = call.request
  if (!body) throw new AppError('SOURCE_INVALID', 'the body is empty; send the app as .tar.gz')
  const read = Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0])
  return deploy(app, { ...(await storeUpload(read, { app, version }, call)), source: 'upload' }, query, call)
}

async function deployFromElsewhere(body: z.infer<typeof fromElsewhere>, call: Deploying): Promise<Response> {
  const { app_id: app, source, version = null } = body
  if ('git' in source) return deploy(app, await prepareGitSource(source, { app, version }, call), body, call)
  const folder = await openServerFolder(source.path, call)
  return deploy(app, { ...(await storeUpload(folder, { app, version }, call)), source: 'upload' }, body, call)
}

async function deploy(name: string, source: Source, options: Options, call: Deploying): Promise<Response> {
  const { sql, queue, caller, config, log } = call
  const app = call.app ?? (await provideApp(sql, name, caller))
  const branch = options.branch ?? app.productionBranch ?? 'main'
  const productionBranch = await settleProductionBranch(sql, app.id, branch)
  const deployment = await createDeployment(sql, {
    app: app.id,
    target: targetOfBranch({ id: app.id, productionBranch }, branch),
    ...source,
    by: nameOf(caller),
    door: options.unlock ? 'unlocking' : 'by hand',
    options: {
      ...(options.force && { forceBuild: true, clearCaches: true }),
      ...(options.canary && { canary: options.canary }),
    },
  })
  log.info({ app: app.id, deployment: deployment.id, version: source.version, by: caller.name }, 'deploy accepted')
  await queue.enqueueBuild(deployment)
  return options.follow
    ? followDeployment(call, deployment, { until: options.until })
    : Response.json(toJson(deployment, config), { status: 202 })
}

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
