import { z } from '@hono/zod-openapi'
import { findOpenOfRoute } from '../deployments.ts'
import { readMovedSince } from '../moved-since.ts'
import { findRollbackTarget, prepareAndRollBack } from '../rollback.ts'
import { answersJson } from './answers.ts'
import { nameOf } from './call.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, versionName } from './fields.ts'
import { movedSinceJson } from './progress.ts'
import { route } from './route.ts'

// POST /api/platform/rollback   { "app_id": "marketing", "version": "3f2a91c" }    version omitted: the previous live one
export const rollbackRoute = route({
  method: 'post',
  path: '/rollback',
  summary: 'Go back to a version that was live before',
  policy: { action: 'deploy', on: 'body' },
  body: z.strictObject({
    app_id: appName,
    version: versionName.nullish().openapi({
      description:
        'without it: the version that was live before this one; ALREADY_BACK when the newest was taken back already',
    }),
  }),
  audit: (body) => body,
  answers: answersJson(
    'what is live now, what was, what is on its way and will replace it, and what has moved since the version was made',
    z.object({
      live: deploymentJson,
      previous: deploymentJson,
      on_its_way: deploymentJson.nullable(),
      moved_since: movedSinceJson,
    }),
  ),
  async handle({ body }, { app, sql, caller, config, log }) {
    const target = await findRollbackTarget(sql, app.id, body.version ?? null)
    const { live, previous } = await prepareAndRollBack(sql, target, { by: nameOf(caller) })
    log.info({ app: app.id, deployment: live.id, previous: previous.id, by: caller.name }, 'rolled back')
    const open = await findOpenOfRoute(sql, live.routeId)
    return Response.json({
      live: toJson(live, config),
      previous: toJson(previous, config),
      on_its_way: open && toJson(open, config),
      moved_since: await readMovedSince(sql, live),
    })
  },
})
