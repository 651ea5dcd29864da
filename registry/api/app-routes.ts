import { z } from '@hono/zod-openapi'
import type { App } from '../apps.ts'
import { readBuiltRoutes } from '../built-routes.ts'
import type { Deployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import { findLive } from '../live.ts'
import { routeList } from '../route-list.ts'
import type { Sql } from '../sql.ts'
import { answersJson } from './answers.ts'
import { appName, versionName } from './fields.ts'
import { findBuilt } from './find-built.ts'
import { route } from './route.ts'

const routesJson = routeList
  .extend({ version: z.string(), number: z.number(), environment: z.string() })
  .openapi('Routes')

// GET /api/platform/apps/marketing/routes?version=3f2a91c    version omitted: the live one
export const appRoutesRoute = route({
  method: 'get',
  path: '/apps/{app}/routes',
  summary: 'What a version answers: its pages, API routes and paths made ahead, as far as they are known',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject({ version: versionName.optional() }),
  whole: 'they are those of one build',
  answers: answersJson('the routes', routesJson),
  async handle({ query }, { app, sql, store }) {
    const deployment = query.version ? await findBuilt(sql, app, query.version) : await needLive(sql, app)
    const { version, number, environment } = deployment
    return Response.json({ ...{ version, number, environment }, ...(await readBuiltRoutes(sql, store, deployment)) })
  },
})

async function needLive(sql: Sql, app: App): Promise<Deployment> {
  const live = await findLive(sql, app.id)
  if (live) return live
  throw new AppError(
    'VERSION_NOT_FOUND',
    `${app.id} has nothing live; name a version, see: atelier deploys --app ${app.id}`,
  )
}
