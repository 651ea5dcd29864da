import { type RouteConfig, z } from '@hono/zod-openapi'
import { answerOfDatabase } from '../deadline.ts'
import { answersJson, answersPage, answersTaken } from './answers.ts'
import type { ApiDeps } from './call.ts'
import { docsPage } from './docs-page.ts'
import { takeHook } from './hook-door.ts'
import type { OpenApiDocument } from './openapi.ts'

/** What is asked without a token: it says nothing that is anybody's, or is proved in another way. */
export type OpenRoute = Pick<RouteConfig, 'summary' | 'description' | 'request' | 'responses'> & {
  method: 'get' | 'post'
  /** `{name}` for parameters. */
  path: string
  /** Whether each request counts for the limit of its address. */
  isCounted: boolean
  handle(request: Request, params: Record<string, string>, deps: OpenDeps): Response | Promise<Response>
}
type OpenDeps = ApiDeps & { document: () => OpenApiDocument }

const header = z.string().optional()

export const openRoutes: OpenRoute[] = [
  {
    method: 'get',
    path: '/health',
    summary: 'Whether the API and its database answer; under any host name',
    isCounted: false,
    responses: answersJson('they do', z.object({ ok: z.literal(true) })),
    async handle(_request, _params, { sql }) {
      await answerOfDatabase(sql`select 1`)
      return Response.json({ ok: true })
    },
  },
  {
    method: 'get',
    path: '/openapi.json',
    summary: 'This description, for programs',
    isCounted: false,
    responses: answersJson('OpenAPI 3.1', z.looseObject({ openapi: z.string(), paths: z.looseObject({}) })),
    handle: (_request, _params, { document }) => Response.json(document()),
  },
  {
    method: 'get',
    path: '/docs',
    summary: 'This description, for people',
    isCounted: false,
    responses: answersPage('one page'),
    handle: (_request, _params, { document }) => docsPage(document()),
  },
  {
    method: 'post',
    path: '/hooks/{hook}',
    summary: 'Take a webhook of the host of a linked repository: pushes, and pull requests as they come and go',
    description: 'Signed with the secret of the hook, as GitHub, Gitea and Forgejo do it; taken once.',
    isCounted: true,
    request: {
      params: z.object({ hook: z.string().openapi({ description: 'as the end of `hook_url` of the link' }) }),
      headers: z.object({
        'x-github-event': header.openapi({ description: 'or x-gitea-event, x-forgejo-event' }),
        'x-github-delivery': header.openapi({ description: 'or x-gitea-delivery, x-forgejo-delivery' }),
        'x-hub-signature-256': header.openapi({
          description: 'or x-gitea-signature, x-forgejo-signature: HMAC-SHA-256 of the body',
        }),
      }),
      body: {
        required: true,
        content: {
          'application/json': { schema: z.looseObject({}).openapi({ description: 'up to 5 MB' }) },
          'application/x-www-form-urlencoded': { schema: z.object({ payload: z.string() }) },
        },
      },
    },
    responses: answersTaken(
      'it is written down; what comes of it comes later',
      z.object({ taken: z.enum(['opened', 'closed', 'pushed', 'nothing']) }),
    ),
    handle: (request, { hook = '' }, deps) => takeHook(request, hook, deps),
  },
]

/** As the OpenAPI document has it. */
export function describeOpen({ method, path, summary, description, request, responses }: OpenRoute): RouteConfig {
  return {
    method,
    path,
    summary: summary ?? '',
    description: description ?? 'Needs no token.',
    security: [],
    ...(request && { request }),
    responses,
  }
}
