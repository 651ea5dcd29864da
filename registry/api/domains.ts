import { z } from '@hono/zod-openapi'
import { addDomain, type Domain, listDomains, parseHost, removeDomain, shownHost } from '../domains.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, line } from './fields.ts'
import { route } from './route.ts'

const domainJson = z
  .object({
    host: z.string().openapi({ description: 'as in DNS', example: 'xn--bcher-kva.example' }),
    name: z.string().openapi({ description: 'as people read it', example: 'bücher.example' }),
    created_at: z.string(),
    created_by: z.string(),
  })
  .openapi('Domain')

const host = line(253).openapi({ example: 'www.example.com' })

// GET /api/platform/apps/marketing/domains
export const listDomainsRoute = route({
  method: 'get',
  path: '/apps/{app}/domains',
  summary: 'List the host names an app is meant to have; they are records so far, and nothing is served by them',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson('a page of them, by name', z.object({ domains: z.array(domainJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { app, sql }) {
    const [after = null] = readCursor(cursor, z.tuple([line(253)])) ?? []
    const found = await listDomains(sql, { app: app.id, after, limit: limit + 1 })
    const { shown, next } = pageOf(found, limit, ({ host }) => [host])
    return Response.json({ domains: shown.map(toJson), next })
  },
})

// POST /api/platform/apps/marketing/domains   { "host": "www.example.com" }
export const addDomainRoute = route({
  method: 'post',
  path: '/apps/{app}/domains',
  summary: 'Note a host name for an app; one name belongs to one app',
  policy: { action: 'admin', on: 'params' },
  params: z.object({ app: appName }),
  body: z.strictObject({ host }),
  audit: ({ host }) => ({ host }),
  answers: answersJson('the domain', domainJson),
  async handle({ body }, { app, sql, caller, config, log }) {
    const domain = await addDomain(sql, { host: parseHost(body.host, config), app: app.id, by: nameOf(caller) })
    log.info({ app: app.id, host: domain.host, by: caller.name }, 'domain added')
    return Response.json(toJson(domain))
  },
})

export const removeDomainRoute = route({
  method: 'delete',
  path: '/apps/{app}/domains/{host}',
  summary: 'Remove a host name of an app',
  policy: { action: 'admin', on: 'params' },
  params: z.object({ app: appName, host }),
  answers: answersNothing('the app no longer has that name'),
  async handle({ params }, { app, sql, caller, config, log }) {
    const name = parseHost(params.host, config)
    await removeDomain(sql, { host: name, app: app.id })
    log.info({ app: app.id, host: name, by: caller.name }, 'domain removed')
    return new Response(null, { status: 204 })
  },
})

function toJson({ host, createdAt, createdBy }: Domain): z.infer<typeof domainJson> {
  return { host, name: shownHost(host), created_at: createdAt.toISOString(), created_by: createdBy }
}
