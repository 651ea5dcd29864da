import { z } from '@hono/zod-openapi'
import { type AuditEntry, listEntries } from '../audit.ts'
import { wordsOfDeed } from '../deed-words.ts'
import { appsWhere } from '../rights.ts'
import { answersJson } from './answers.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, line } from './fields.ts'
import { route } from './route.ts'

const entryJson = z
  .object({
    id: z.number(),
    at: z.string(),
    who: z.string(),
    via: z.enum(['api', 'cli', 'console', 'git', 'webhook', 'server']),
    from: z.string().nullable().openapi({ description: 'the address of the client' }),
    token_id: z.string().nullable(),
    what: z.string().openapi({ description: 'what was done, in words', example: 'roll back' }),
    action: z
      .string()
      .openapi({ description: 'a route of this API, or what is none: git push, sign in', example: 'POST /rollback' }),
    app_id: z.string().nullable(),
    target: z.string().nullable(),
    detail: z.record(z.string(), z.unknown()),
    outcome: z
      .string()
      .nullable()
      .openapi({ description: 'done, or the code of the error; null: under way, or the platform ended over it' }),
  })
  .openapi('AuditEntry')

const place = z.tuple([z.coerce.number().int().positive()])

export const listAuditRoute = route({
  method: 'get',
  path: '/audit',
  summary:
    'Who did what, from where, newest first: of an app, for its owners; of everything you own; of all, for admins',
  policy: { action: 'admin', on: 'query?' },
  query: z.strictObject({
    app: appName.optional(),
    who: line(80).optional(),
    ...pageQuery(500, 50),
  }),
  answers: answersJson('entries', z.object({ entries: z.array(entryJson), next: nextField })),
  async handle({ query }, { app, sql, caller }) {
    const { who = null, limit } = query
    const [before = null] = readCursor(query.cursor, place) ?? []
    const apps = app ? [app.id] : appsWhere(caller, 'admin')
    const entries = await listEntries(sql, { apps, actor: who, before, limit: limit + 1 })
    const { shown, next } = pageOf(entries, limit, ({ id }) => [String(id)])
    return Response.json({ entries: shown.map(toJson), next })
  },
})

function toJson(entry: AuditEntry): z.infer<typeof entryJson> {
  return {
    id: entry.id,
    at: entry.at.toISOString(),
    who: entry.actor,
    via: entry.via,
    from: entry.address,
    token_id: entry.tokenId,
    what: wordsOfDeed(entry.action),
    action: entry.action,
    app_id: entry.appId,
    target: entry.target,
    detail: entry.detail,
    outcome: entry.outcome,
  }
}
