import { z } from '@hono/zod-openapi'
import { awaitPurgeSeen, insertPurge } from '../purges.ts'
import { answersJson } from './answers.ts'
import { nameOf } from './call.ts'
import { appName, line } from './fields.ts'
import { route } from './route.ts'

const maxNamed = 100

const tag = line(256).refine((text) => !text.includes(','), 'must be one tag, without a comma')
const path = line(2048).refine((text) => text.startsWith('/'), 'must begin with /')

// POST /api/platform/apps/marketing/purge   { "tags": ["prices"], "paths": ["/blog/*"] }   or { "all": true }
export const purgeRoute = route({
  method: 'post',
  path: '/apps/{app}/purge',
  summary: 'Have every edge forget cached answers of an app: by the tags they carry, by path, or all of them',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName }),
  body: z
    .strictObject({
      tags: z
        .array(tag)
        .max(maxNamed)
        .default([])
        .openapi({ example: ['prices'] }),
      paths: z
        .array(path)
        .max(maxNamed)
        .default([])
        .openapi({
          description: '`/blog` with every query; `/blog?page=2` for itself; `/blog/*` and all below',
          example: ['/blog/*'],
        }),
      all: z.boolean().default(false),
    })
    .refine(({ tags, paths, all }) => all || tags.length + paths.length > 0, 'must name tags or paths, or say all'),
  audit: (body) => body,
  answers: answersJson(
    'when every edge has forgotten them, or six seconds have passed: how many edges have, and how many have not said so',
    z.object({
      id: z.string(),
      app_id: z.string(),
      tags: z.array(z.string()),
      paths: z.array(z.string()),
      all: z.boolean(),
      by: z.string(),
      at: z.string(),
      edges: z.number(),
      missing: z.number(),
    }),
  ),
  async handle({ body }, { app, sql, caller, log }) {
    const { id, tags, paths, all, by, at } = await insertPurge(sql, { app: app.id, ...body, by: nameOf(caller) })
    const { edges, missing } = await awaitPurgeSeen(sql, id)
    log.info({ app: app.id, purge: id, tags, paths, all, by, edges, missing }, 'cached answers purged')
    return Response.json({ id, app_id: app.id, tags, paths, all, by, at: at.toISOString(), edges, missing })
  },
})
