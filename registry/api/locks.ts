import { z } from '@hono/zod-openapi'
import { type AppLock, lockApp, unlockApp } from '../app-locks.ts'
import { answersJson } from './answers.ts'
import { nameOf } from './call.ts'
import { appName, reason } from './fields.ts'
import { route } from './route.ts'

// POST /api/platform/lock   { "app_id": "marketing", "message": "migrating the database" }

export const lockJson = z
  .object({
    kind: z.enum(['lock', 'hold']).openapi({
      description:
        'lock: nothing new comes into production; hold: automatic deployments wait, for a version was taken back',
    }),
    message: z.string(),
    by: z.string(),
    at: z.string(),
  })
  .openapi('Lock')

export const lockRoute = route({
  method: 'post',
  path: '/lock',
  summary:
    "Let no new version into an app's production; what is on its way already goes on, and going back always works",
  policy: { action: 'deploy', on: 'body' },
  body: z.strictObject({ app_id: appName, message: reason }),
  audit: (body) => body,
  answers: answersJson('the lock', lockJson),
  async handle({ body }, { app, sql, caller, log }) {
    const lock = await lockApp(sql, { app: app.id, message: body.message, by: nameOf(caller) })
    log.info({ app: app.id, by: caller.name }, 'app locked')
    return Response.json(lockToJson(lock))
  },
})

export const unlockRoute = route({
  method: 'post',
  path: '/unlock',
  summary: 'Lift the lock of an app, and the hold on its automatic deployments',
  policy: { action: 'deploy', on: 'body' },
  body: z.strictObject({ app_id: appName }),
  audit: (body) => body,
  answers: answersJson('what was lifted', z.object({ lifted: z.array(lockJson) })),
  async handle(_, { app, sql, caller, log }) {
    const lifted = await unlockApp(sql, { app: app.id, by: nameOf(caller) })
    log.info({ app: app.id, lifted: lifted.length, by: caller.name }, 'app unlocked')
    return Response.json({ lifted: lifted.map(lockToJson) })
  },
})

export function lockToJson({ kind, message, by, at }: AppLock): z.infer<typeof lockJson> {
  return { kind, message, by, at: at.toISOString() }
}
