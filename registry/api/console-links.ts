import { z } from '@hono/zod-openapi'
import { consoleUrl } from '../config.ts'
import { createSignInCode, signInAs } from '../console-sessions.ts'
import { answersJson } from './answers.ts'
import { route } from './route.ts'

export const createConsoleLinkRoute = route({
  method: 'post',
  path: '/console-links',
  summary: "Make a one-time link that signs a browser in to the console with this token's rights",
  policy: { action: 'read', on: 'own' },
  answers: answersJson('the link', z.object({ url: z.string(), expires_at: z.string() })),
  async handle(_, { sql, caller, config }) {
    const { code, expiresAt } = await createSignInCode(sql, signInAs(caller))
    // In the fragment, which browsers keep to themselves: it reaches no log and no other site.
    const url = `${consoleUrl(config)}/#token=${code}`
    return Response.json({ url, expires_at: expiresAt.toISOString() }, { headers: { 'cache-control': 'no-store' } })
  },
})
