import type { RouteConfig, z } from '@hono/zod-openapi'
import type { App } from '../apps.ts'
import type { Deployment } from '../deployments.ts'
import type { Action } from '../rights.ts'
import type { Call, Subject } from './call.ts'
import { isJson, readJson, readWith } from './request-input.ts'

/**
 * Who may: an action of tokens.ts, on what.
 * `params`, `query`, `body`: the app named there (`app`, in a body `app_id`); `query?`: that app, or without one whatever apps the token
 * is good for; `deployment`: the app of the deployment in the path; `own`: whatever apps the token is good for; `platform`: the platform.
 */
export type Policy = {
  action: Action
  on: 'params' | 'query' | 'query?' | 'body' | 'deployment' | 'own' | 'platform'
  /** An app that does not exist yet is no refusal when the token may create it: the handler does, once it has what to put there. */
  createsApp?: true
}

type SubjectOf<P extends Policy> = P extends { createsApp: true }
  ? { app: App | null }
  : P['on'] extends 'params' | 'query' | 'body'
    ? { app: App }
    : P['on'] extends 'query?'
      ? { app: App | null }
      : P['on'] extends 'deployment'
        ? { deployment: Deployment }
        : object

type Definition<P extends Policy, Params, Query, Body> = {
  method: 'get' | 'post' | 'put' | 'delete'
  /** Below /api/platform, `{name}` for parameters. */
  path: `/${string}`
  summary: string
  policy: P
  params?: z.ZodType<Params>
  query?: z.ZodType<Query>
  body?: z.ZodType<Body>
  maxBodyBytes?: number
  /** Of a list that does not come in pages: why it need not. Stands in the document. */
  whole?: string
  /** The body is read by the handler, as it comes. With a `body` besides, that is what comes as JSON, and names the app in place of the query. */
  streamedBody?: { type: string }
  answers: RouteConfig['responses']
  /** What of the body stands in the audit log, which keeps path and query of every change; never a secret. */
  audit?: (body: Body) => Record<string, unknown>
  /** It only goes on with what the audit log has from its beginning, and is not written there again. */
  goesOn?: true
  handle: (input: { params: Params; query: Query; body: Body }, call: Call & SubjectOf<P>) => Promise<Response>
}

/** A route with its types closed over: what it takes is read before its policy is asked, and its handler runs only when that allows. */
export type Route = Pick<
  Definition<Policy, unknown, unknown, unknown>,
  'method' | 'path' | 'summary' | 'policy' | 'goesOn'
> & {
  openapi: RouteConfig
  read(request: Request, params: Record<string, string>): Promise<Input>
}

export type Input = {
  /** The app or the deployment the policy is about, by the name the request gives it. */
  subjectName: string | null
  /** What the audit log is to say of the request besides its subject. */
  detail: Record<string, unknown>
  /** All that was asked, but for what is sent in chunks. */
  given: unknown
  /** Something is sent in chunks, which the handler reads. */
  isStreamed: boolean
  handle(call: Call, subject: Subject): Promise<Response>
}

type RouteName = `${Uppercase<Route['method']>} ${Route['path']}`

/** `POST /rollback`: what the audit log calls it. */
export function nameOfRoute({ method, path }: Pick<Route, 'method' | 'path'>): RouteName {
  return `${method.toUpperCase() as Uppercase<typeof method>} ${path}`
}

const defaultMaxBodyBytes = 65_536

export function route<const P extends Policy, Params = unknown, Query = unknown, Body = unknown>(
  definition: Definition<P, Params, Query, Body>,
): Route {
  const { method, path, summary, policy } = definition
  return {
    method,
    path,
    summary,
    policy,
    ...(definition.goesOn && { goesOn: true }),
    openapi: describe(definition),
    async read(request, rawParams) {
      const params = definition.params ? readWith(definition.params, rawParams, 'path') : (undefined as Params)
      const isStreamed = definition.streamedBody !== undefined && !(definition.body && isJson(request))
      const query = definition.query ? readWith(definition.query, readQuery(request), 'query') : (undefined as Query)
      const body =
        definition.body && !isStreamed
          ? readWith(definition.body, await readJson(request, definition.maxBodyBytes ?? defaultMaxBodyBytes), 'body')
          : (undefined as Body)
      return {
        subjectName: nameSubject(policy, { params, query, body }),
        detail: { ...params, ...query, ...(body !== undefined && definition.audit?.(body)) },
        given: { params, query, body },
        isStreamed,
        handle: (call, subject) =>
          definition.handle({ params, query, body }, { ...call, ...(subject as SubjectOf<P>) }),
      }
    },
  }
}

// A parameter given twice means two different things to two readers.
function readQuery(request: Request): Record<string, unknown> {
  const given = new URL(request.url).searchParams
  return Object.fromEntries([...given.keys()].map((name) => [name, oneOrAll(given.getAll(name))]))
}

function oneOrAll(values: string[]): string | string[] | undefined {
  return values.length > 1 ? values : values[0]
}

function nameSubject(
  { on }: Policy,
  { params, query, body }: Record<'params' | 'query' | 'body', unknown>,
): string | null {
  if (on === 'params') return fieldOf(params, 'app')
  if (on === 'deployment') return fieldOf(params, 'id')
  if (on === 'query') return fieldOf(body, 'app_id') ?? fieldOf(query, 'app')
  if (on === 'query?') return fieldOf(query, 'app')
  return on === 'body' ? fieldOf(body, 'app_id') : null
}

function fieldOf(from: unknown, name: string): string | null {
  const value = typeof from === 'object' && from !== null ? Reflect.get(from, name) : undefined
  return typeof value === 'string' ? value : null
}

function describe<P extends Policy, Params, Query, Body>(definition: Definition<P, Params, Query, Body>): RouteConfig {
  const { method, path, summary, policy, params, query, body, streamedBody, answers } = definition
  return {
    method,
    path: `/api/platform${path}`,
    summary,
    description: `Needs a token that may \`${policy.action}\`.${definition.whole ? ` Whole, not in pages: ${definition.whole}.` : ''}`,
    security: [{ token: [] }],
    request: {
      ...(params && { params: params as never }),
      ...(query && { query: query as never }),
      ...((body || streamedBody) && {
        body: {
          required: true,
          content: {
            ...(body && { 'application/json': { schema: body } }),
            ...(streamedBody && { [streamedBody.type]: { schema: { type: 'string', format: 'binary' } } }),
          },
        },
      }),
    },
    responses: answers,
  }
}
