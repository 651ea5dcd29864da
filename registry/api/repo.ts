import { randomBytes } from 'node:crypto'
import { z } from '@hono/zod-openapi'
import { addressToKeep } from '../audit.ts'
import { apiUrl, type Config } from '../config.ts'
import { AppError } from '../errors.ts'
import { removePreview } from '../preview-removal.ts'
import { listHeads } from '../repo-heads.ts'
import { findLinkOfApp, linkRepo, type RepoLink, unlinkRepo } from '../repo-links.ts'
import { readRepoUrl } from '../repo-url.ts'
import { type Caller, may } from '../rights.ts'
import type { Sql } from '../sql.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { appName, line } from './fields.ts'
import { route } from './route.ts'

const repoJson = z
  .object({
    app_id: z.string(),
    host: z.enum(['github', 'gitea']),
    url: z.string(),
    repository: z.string().openapi({ example: 'octo/hello' }),
    api_url: z.string(),
    hook_url: z
      .string()
      .nullable()
      .openapi({ description: 'where the host sends its webhooks; null for those who may not change the link' }),
    has_token: z.boolean(),
    forks: z.enum(['off', 'approve']),
    created_at: z.string(),
    created_by: z.string(),
    asked_at: z.string().nullable().openapi({ description: 'when the host was last asked what is open' }),
    problem: z.string().nullable().openapi({ description: 'why the host could not be asked, or told, the last time' }),
  })
  .openapi('RepoLink')

const params = z.object({ app: appName })

export const showRepoRoute = route({
  method: 'get',
  path: '/apps/{app}/repo',
  summary:
    'The repository elsewhere that an app is deployed from; secret and token are never shown, where it sends its webhooks only to deployers',
  policy: { action: 'read', on: 'params' },
  params,
  answers: answersJson('the link', repoJson),
  async handle(_, { app, sql, config, caller }) {
    const link = await needLink(sql, app.id)
    return Response.json(await toJson(link, { sql, config, caller }))
  },
})

// PUT /api/platform/apps/marketing/repo   { "host": "github", "url": "https://github.com/octo/marketing", "token": "ghp_…" }
export const linkRepoRoute = route({
  method: 'put',
  path: '/apps/{app}/repo',
  summary:
    'Deploy an app from a repository at GitHub, Gitea or Forgejo: pushes to production, pull requests to previews',
  policy: { action: 'deploy', on: 'params' },
  params,
  body: z.strictObject({
    host: z.enum(['github', 'gitea']).openapi({ description: 'gitea: Forgejo, too' }),
    url: line(500).openapi({ example: 'https://github.com/octo/hello' }),
    api_url: line(500).nullish().openapi({ description: 'default: where the host usually has its API' }),
    secret: line(200)
      .min(16)
      .nullish()
      .openapi({ description: 'what the host signs its webhooks with; default: a new one, told this once' }),
    token: line(500).nullish().openapi({
      description:
        'for private repositories, statuses and comments; left out: the one it has, unless the API is another one by now',
    }),
    forks: z
      .enum(['off', 'approve'])
      .default('off')
      .openapi({ description: 'off: pull requests of forks are not built; approve: commit by commit, when approved' }),
  }),
  audit: ({ host, url, forks, token, secret }) => ({
    host,
    url: addressToKeep(url),
    forks,
    token: Boolean(token),
    secret: Boolean(secret),
  }),
  answers: answersJson(
    'the link, and the secret when it is a new one of ours',
    repoJson.extend({ secret: z.string().optional() }).openapi('NewRepoLink'),
  ),
  async handle({ body }, { app, sql, key, config, caller, log }) {
    const made = body.secret ? null : randomBytes(24).toString('base64url')
    const address = readRepoUrl(body.host, body.url, body.api_url ?? null)
    const before = await findLinkOfApp(sql, app.id)
    if (before && before.url !== address.url) await removePreviewsOf(sql, app.id, nameOf(caller))
    const link = await sql.begin((tx) =>
      linkRepo(
        tx,
        {
          ...address,
          ...{ appId: app.id, host: body.host, forks: body.forks, by: nameOf(caller) },
          secret: body.secret ?? made ?? '',
          token: body.token ?? null,
        },
        key,
      ),
    )
    log.info({ app: app.id, repository: link.fullName, host: link.host, by: caller.name }, 'repository linked')
    const shown = { ...(await toJson(link, { sql, config, caller })), ...(made && { secret: made }) }
    return Response.json(shown, { headers: { 'cache-control': 'no-store' } })
  },
})

export const unlinkRepoRoute = route({
  method: 'delete',
  path: '/apps/{app}/repo',
  summary: 'Deploy an app from its repository no more, and remove the previews of its pull requests',
  policy: { action: 'deploy', on: 'params' },
  params,
  answers: answersNothing('it is unlinked'),
  async handle(_, { app, sql, caller, log }) {
    await needLink(sql, app.id)
    await removePreviewsOf(sql, app.id, nameOf(caller))
    await unlinkRepo(sql, app.id)
    log.info({ app: app.id, by: caller.name }, 'repository unlinked')
    return new Response(null, { status: 204 })
  },
})

async function removePreviewsOf(sql: Sql, app: string, by: string): Promise<void> {
  for (const { branch, pullRequest } of await listHeads(sql, app))
    if (pullRequest !== null) await removePreview(sql, { app, branch, by, reason: 'the repository was unlinked' })
}

async function needLink(sql: Sql, app: string): Promise<RepoLink> {
  const link = await findLinkOfApp(sql, app)
  if (link) return link
  throw new AppError('REPO_NOT_LINKED', `${app} is linked to no repository; to link it: atelier repo link <url>`)
}

async function toJson(
  link: RepoLink,
  { sql, config, caller }: { sql: Sql; config: Config; caller: Caller },
): Promise<z.infer<typeof repoJson>> {
  const untold = (await listHeads(sql, link.appId)).find(({ tellError }) => tellError !== null)
  return {
    app_id: link.appId,
    host: link.host,
    url: link.url,
    repository: link.fullName,
    api_url: link.apiUrl,
    // Whoever knows it may have bodies read there, and keep others waiting.
    hook_url: may(caller, linkRepoRoute.policy.action, link.appId) ? `${apiUrl(config)}/hooks/${link.id}` : null,
    has_token: link.token !== null,
    forks: link.forks,
    created_at: link.createdAt.toISOString(),
    created_by: link.createdBy,
    asked_at: link.polledAt?.toISOString() ?? null,
    problem: link.pollError ?? untold?.tellError ?? null,
  }
}
