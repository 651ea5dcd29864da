import { z } from '@hono/zod-openapi'
import { findApp } from '../apps.ts'
import { AppError } from '../errors.ts'
import { type Caller, isPlatformAdmin, may } from '../rights.ts'
import { createToken, deleteToken, deleteTokensOf, listTokens, type Token } from '../tokens.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nextField, pageOf, pageQuery, placeInTime, readCursor } from './cursor.ts'
import { appName, line } from './fields.ts'
import { route } from './route.ts'

const scope = z.enum(['admin', 'deploy', 'read'])

const tokenJson = z
  .object({
    id: z.string(),
    name: z.string(),
    scope,
    app_id: z.string().nullable().openapi({ description: 'null: good for every app' }),
    person: z.string().nullable().openapi({ description: 'whose it is; null: it stands alone' }),
    created_at: z.string(),
    expires_at: z.string().nullable(),
    last_used_at: z.string().nullable(),
  })
  .openapi('Token')

export const listTokensRoute = route({
  method: 'get',
  path: '/tokens',
  summary: 'List your tokens, as an admin all of them; secrets are not kept and never shown again',
  policy: { action: 'admin', on: 'own' },
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson('a page of them, the oldest first', z.object({ tokens: z.array(tokenJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { sql, caller }) {
    const after = readCursor(cursor, placeInTime)
    const tokens = await listTokens(sql, { of: onlyOf(caller), after, limit: limit + 1 })
    const { shown, next } = pageOf(tokens, limit, ({ micros, id }) => [micros, id])
    return Response.json({ tokens: shown.map((token) => toJson(token, token.person)), next })
  },
})

export const createTokenRoute = route({
  method: 'post',
  path: '/tokens',
  summary: 'Create a token; its secret is in the answer and nowhere else',
  policy: { action: 'admin', on: 'own' },
  body: z.strictObject({
    name: line(80),
    scope: scope.default('deploy'),
    app_id: appName.nullish(),
    expires_in_days: z.number().int().min(1).max(3650).nullish(),
    alone: z
      .boolean()
      .default(false)
      .openapi({ description: 'not yours but nobody’s, with rights of its own; for admins' }),
  }),
  audit: (body) => body,
  answers: answersJson('the token and its secret', tokenJson.extend({ secret: z.string() }).openapi('NewToken')),
  async handle({ body }, { sql, caller, log }) {
    if (body.alone && !isPlatformAdmin(caller))
      throw new AppError('FORBIDDEN', 'a token that is nobody’s is made by an admin; leave alone out')
    if (body.app_id && !(may(caller, 'read', body.app_id) && (await findApp(sql, body.app_id))))
      throw new AppError('APP_NOT_FOUND', `there is no app ${body.app_id}; see: atelier apps`)
    const person = body.alone ? null : caller.person
    const { token, secret } = await createToken(sql, {
      name: body.name,
      scope: body.scope,
      appId: body.app_id ?? null,
      personId: person?.id ?? null,
      expiresAt: body.expires_in_days ? new Date(Date.now() + body.expires_in_days * 86_400_000) : null,
      madeBy: caller.tokenId,
    })
    log.info({ token: token.id, scope: token.scope, app: token.appId, by: caller.name }, 'token created')
    return Response.json(
      { ...toJson(token, person && caller.name), secret },
      { headers: { 'cache-control': 'no-store' } },
    )
  },
})

export const deleteTokenRoute = route({
  method: 'delete',
  path: '/tokens/{id}',
  summary: 'Delete a token of yours, as an admin any; streams it holds open end within five seconds',
  policy: { action: 'admin', on: 'own' },
  params: z.object({ id: line(64) }),
  answers: answersNothing('the token is no longer valid'),
  async handle({ params }, { sql, caller, log }) {
    if (params.id === 'admin' && isPlatformAdmin(caller))
      throw new AppError(
        'REQUEST_INVALID',
        "the platform's own admin token cannot be deleted; it is in the file admin-token of its home",
      )
    const deleted = await deleteToken(sql, params.id, { of: onlyOf(caller) })
    if (!deleted) throw new AppError('TOKEN_NOT_FOUND', `there is no token ${params.id}; see: atelier tokens`)
    log.info({ token: deleted.id, by: caller.name }, 'token deleted')
    return new Response(null, { status: 204 })
  },
})

export const deleteTokensRoute = route({
  method: 'delete',
  path: '/tokens',
  summary: 'Delete all tokens of yours but the one you ask with; streams they hold open end within five seconds',
  policy: { action: 'admin', on: 'own' },
  answers: answersJson('how many', z.object({ ended: z.number() })),
  async handle(_, { sql, caller, log }) {
    if (!caller.person)
      throw new AppError(
        'REQUEST_INVALID',
        'this token is nobody’s; say whose are to end: atelier people sign-out --tokens',
      )
    const ended = await deleteTokensOf(sql, caller.person.id, { except: caller.tokenId })
    log.info({ ended, by: caller.name }, 'all tokens of a person deleted')
    return Response.json({ ended })
  },
})

// Whose tokens are asked about: an admin's question is about all. A token that stands alone comes here only as an admin's.
function onlyOf(caller: Caller): string | null {
  return isPlatformAdmin(caller) ? null : (caller.person?.id ?? '')
}

function toJson(token: Token, person: string | null): z.infer<typeof tokenJson> {
  return {
    id: token.id,
    name: token.name,
    scope: token.scope,
    app_id: token.appId,
    person,
    created_at: token.createdAt.toISOString(),
    expires_at: token.expiresAt?.toISOString() ?? null,
    last_used_at: token.lastUsedAt?.toISOString() ?? null,
  }
}
