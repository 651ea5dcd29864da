import { z } from '@hono/zod-openapi'
import { askForClearCaches } from '../apps.ts'
import { answersNothing } from './answers.ts'
import { appName } from './fields.ts'
import { route } from './route.ts'

// DELETE /api/platform/apps/marketing/build-caches
export const clearBuildCachesRoute = route({
  method: 'delete',
  path: '/apps/{app}/build-caches',
  summary: 'Have the next deployment of an app built without what earlier builds have kept',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName }),
  answers: answersNothing('the next deployment throws it away and builds afresh'),
  async handle(_, { app, sql, caller, log }) {
    await askForClearCaches(sql, app.id)
    log.info({ app: app.id, by: caller.name }, 'build caches cleared')
    return new Response(null, { status: 204 })
  },
})
