import { z } from '@hono/zod-openapi'
import { type App, createApp, deleteApp, listApps } from '../apps.ts'
import { appUrl, type Config, gitUrl } from '../config.ts'
import { dropLeftDatabases } from '../reconcile.ts'
import { appsWhere } from '../rights.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, newAppName } from './fields.ts'
import { route } from './route.ts'

const appJson = z
  .object({
    id: z.string(),
    url: z.string(),
    git_url: z.string(),
    production_branch: z.string().nullable(),
    created_at: z.string(),
    created_by: z.string(),
  })
  .openapi('App')

export const createAppRoute = route({
  method: 'post',
  path: '/apps',
  summary: 'Create an app',
  policy: { action: 'create', on: 'platform' },
  body: z.strictObject({ name: newAppName }),
  answers: answersJson('the new app', appJson),
  audit: ({ name }) => ({ name }),
  async handle({ body }, { sql, caller, config, log }) {
    const app = await createApp(sql, { id: body.name, by: nameOf(caller), owner: caller.person?.id ?? null })
    log.info({ app: app.id, by: caller.name }, 'app created')
    return Response.json(toJson(app, config))
  },
})

export const listAppsRoute = route({
  method: 'get',
  path: '/apps',
  summary: 'List the apps the token may see',
  policy: { action: 'read', on: 'own' },
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson('a page of them, by name', z.object({ apps: z.array(appJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { sql, caller, config }) {
    const [after = null] = readCursor(cursor, z.tuple([appName])) ?? []
    const apps = await listApps(sql, { only: appsWhere(caller, 'read'), after, limit: limit + 1 })
    const { shown, next } = pageOf(apps, limit, ({ id }) => [id])
    return Response.json({ apps: shown.map((app) => toJson(app, config)), next })
  },
})

export const showAppRoute = route({
  method: 'get',
  path: '/apps/{app}',
  summary: 'Show an app',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  answers: answersJson('the app', appJson),
  async handle(_, { app, config }) {
    return Response.json(toJson(app, config))
  },
})

export const deleteAppRoute = route({
  method: 'delete',
  path: '/apps/{app}',
  summary: 'Delete an app with its deployments, variables and logs, its files in /data, and the databases it was given',
  policy: { action: 'admin', on: 'params' },
  params: z.object({ app: appName }),
  answers: answersNothing('the app is gone; its addresses answer 404'),
  async handle(_, { app, sql, store, config, caller, log }) {
    await deleteApp(sql, app.id)
    void dropLeftDatabases({ sql, config, log }).catch((err: unknown) =>
      log.warn({ err }, 'databases not dropped, tried again later'),
    )
    // Builds are collected later; a source would stand in the way of the next app with this name.
    await store.remove(await store.list(`sources/${app.id}/`))
    log.info({ app: app.id, by: caller.name }, 'app deleted')
    return new Response(null, { status: 204 })
  },
})

function toJson(app: App, config: Config): z.infer<typeof appJson> {
  return {
    id: app.id,
    url: appUrl(config, app.id),
    git_url: gitUrl(config, app.id),
    production_branch: app.productionBranch,
    created_at: app.createdAt.toISOString(),
    created_by: app.createdBy,
  }
}
