import { z } from '@hono/zod-openapi'
import { appUrl } from '../config.ts'
import { AppError } from '../errors.ts'
import { removePreview } from '../preview-removal.ts'
import { changePreviewSettings, gateOf, type PreviewSettings, readPreviewSettings } from '../preview-settings.ts'
import { listPreviews } from '../previews.ts'
import { approveHead, branchOfPull, findHead, listOpenPulls, refuseHead } from '../repo-heads.ts'
import { findLinkOfApp } from '../repo-links.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageQuery, placeInTime, readCursor, toCursor } from './cursor.ts'
import { appName, branchName, line } from './fields.ts'
import { route } from './route.ts'

const settingsJson = z
  .object({
    ttl_hours: z.number().openapi({ description: 'a preview to which nothing is deployed for so long is removed' }),
    most: z.number().openapi({ description: 'of this app; the one deployed longest ago goes when there is one more' }),
    has_password: z.boolean(),
  })
  .openapi('PreviewSettings')

const previewJson = z
  .object({
    branch: z.string(),
    url: z.string(),
    version: z.string().nullable(),
    deployment: z.string().nullable(),
    state: z.string().nullable().openapi({ description: 'of its newest deployment' }),
    state_reason: z.string().nullable(),
    created_at: z.string(),
    deployed_at: z.string(),
    ends_at: z.string().openapi({ description: 'when it is removed, unless something is deployed to it before' }),
  })
  .openapi('Preview')

const pullJson = z
  .object({
    number: z.number(),
    head: z.string().openapi({ description: 'its newest commit' }),
    is_fork: z.boolean(),
    approved: z.string().nullable().openapi({ description: 'the one commit of a fork that may be built' }),
    note: z.string().nullable().openapi({ description: 'why there is no preview of its head' }),
    problem: z.string().nullable().openapi({ description: 'why its host could not be told the last time' }),
  })
  .openapi('PullRequest')

const params = z.object({ app: appName })

export const listPreviewsRoute = route({
  method: 'get',
  path: '/apps/{app}/previews',
  summary: 'The previews of an app, the open pull requests of its repository, and how long and how many are kept',
  policy: { action: 'read', on: 'params' },
  params,
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson(
    'a page of previews, the one that was made last first, and of pull requests by number',
    z.object({
      previews: z.array(previewJson),
      pull_requests: z.array(pullJson),
      settings: settingsJson,
      next: nextField,
    }),
  ),
  async handle({ query: { limit, cursor } }, { app, sql, config }) {
    // Two lists go forward with one cursor: which of them is at its end already has nothing more to show.
    const [made, pull] = readCursor(cursor, place) ?? [null, 0]
    const [previews, pulls, settings] = await Promise.all([
      listPreviews(sql, app.id, { after: made, limit: limit + 1 }),
      listOpenPulls(sql, app.id, { after: pull, limit: limit + 1 }),
      readPreviewSettings(sql, app.id),
    ])
    const [shown, heads] = [previews.slice(0, limit), pulls.slice(0, limit)]
    const last = shown.at(-1)
    const isAll = previews.length <= limit && pulls.length <= limit
    const next = toCursor([last ? [last.micros, last.routeId] : made, heads.at(-1)?.pullRequest ?? pull])
    return Response.json({
      previews: shown.map((one) => ({
        branch: one.branch,
        url: appUrl(config, one.label),
        version: one.version,
        deployment: one.deploymentId,
        state: one.state,
        state_reason: one.stateReason,
        created_at: one.createdAt.toISOString(),
        deployed_at: one.deployedAt.toISOString(),
        ends_at: one.endsAt.toISOString(),
      })),
      pull_requests: heads.map(({ pullRequest, headSha, isFork, approvedSha, note, tellError }) => ({
        ...{ number: pullRequest, head: headSha, is_fork: isFork, approved: approvedSha, note, problem: tellError },
      })),
      settings: settingsToJson(settings),
      next: isAll ? null : next,
    })
  },
})

const place = z.tuple([placeInTime.nullable(), z.int().min(0).max(2_147_483_647)])

export const removePreviewRoute = route({
  method: 'delete',
  path: '/apps/{app}/previews',
  summary: 'Remove a preview: address, processes, data and database; a pull request has one again with its next commit',
  policy: { action: 'deploy', on: 'params' },
  params,
  query: z.strictObject({ branch: branchName }),
  answers: answersNothing('it is removed'),
  async handle({ query: { branch } }, { app, sql, caller, log }) {
    const by = nameOf(caller)
    await refuseHead(sql, { appId: app.id, branch, note: `the preview was removed by ${by}` })
    if (!(await removePreview(sql, { app: app.id, branch, by, reason: `removed by ${by}` })))
      throw new AppError('PREVIEW_NOT_FOUND', `${app.id} has no preview of ${branch}; see: atelier previews`)
    log.info({ app: app.id, branch, by }, 'preview removed')
    return new Response(null, { status: 204 })
  },
})

// POST /api/platform/apps/marketing/previews/approve   { "number": 42, "sha": "3f2a91c…" }
export const approvePreviewRoute = route({
  method: 'post',
  path: '/apps/{app}/previews/approve',
  summary: "Build one commit of a fork's pull request, without anything that the app keeps secret",
  policy: { action: 'deploy', on: 'params' },
  params,
  body: z.strictObject({
    number: z.int().min(1).max(999_999_999),
    sha: z
      .string()
      .regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/, 'must be the whole commit id that you have looked at')
      .openapi({ description: 'the commit you have looked at; with the next one of the pull request it starts anew' }),
  }),
  audit: (body) => body,
  answers: answersJson('the pull request as it is now', pullJson),
  async handle({ body: { number, sha } }, { app, sql, caller, log }) {
    const link = await findLinkOfApp(sql, app.id)
    if (link?.forks === 'off')
      throw new AppError(
        'FORK_UNTRUSTED',
        `previews of forks are off for ${app.id}; to let them in, commit by commit: atelier repo link ${link.url} --forks approve`,
      )
    const head = await sql.begin(async (tx) => {
      const known = await findHead(tx, { appId: app.id, branch: branchOfPull(number) })
      if (!known?.isOpen || !known.isFork)
        throw new AppError('PREVIEW_NOT_FOUND', `${app.id} knows no open pull request ${number} of a fork`)
      if (known.headSha !== sha)
        throw new AppError(
          'FORK_UNTRUSTED',
          `the head of pull request ${number} is ${known.headSha} by now; look at that one, and approve it`,
        )
      return approveHead(tx, { appId: app.id, number, sha, by: nameOf(caller) })
    })
    if (!head) throw new AppError('PREVIEW_NOT_FOUND', `${app.id} knows no open pull request ${number}`)
    log.info({ app: app.id, pull: number, sha, by: caller.name }, 'commit of a fork approved')
    return Response.json({ number, head: sha, is_fork: true, approved: sha, note: null, problem: head.tellError })
  },
})

export const setPreviewsRoute = route({
  method: 'put',
  path: '/apps/{app}/previews/settings',
  summary: 'How long and how many previews of an app are kept, and the password their visitors give',
  policy: { action: 'deploy', on: 'params' },
  params,
  body: z.strictObject({
    ttl_hours: z.int().min(1).max(8760).optional(),
    most: z.int().min(1).max(1000).optional(),
    password: line(200).min(8).nullish().openapi({ description: 'null: everybody may look' }),
  }),
  audit: ({ password, ...body }) => ({ ...body, ...(password !== undefined && { password: password !== null }) }),
  answers: answersJson('the settings as they are now', settingsJson),
  async handle({ body }, { app, sql, caller, log }) {
    const { ttl_hours: ttlHours, most, password } = body
    const settings = await changePreviewSettings(sql, app.id, {
      ...(ttlHours !== undefined && { ttlHours }),
      ...(most !== undefined && { most }),
      ...(password !== undefined && { gate: password === null ? null : await gateOf(password) }),
    })
    log.info({ app: app.id, by: caller.name }, 'settings of previews changed')
    return Response.json(settingsToJson(settings))
  },
})

function settingsToJson({ ttlHours, most, gate }: PreviewSettings): z.infer<typeof settingsJson> {
  return { ttl_hours: ttlHours, most, has_password: gate !== null }
}
