import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { actorOf } from '../actor.ts'
import { answerOfDatabase } from '../deadline.ts'
import { AppError } from '../errors.ts'
import type { Caller } from '../rights.ts'
import { appOf, authorise, identify, isPermitted } from './access.ts'
import { accountFor } from './account.ts'
import type { ApiDeps, Call } from './call.ts'
import { errorResponse } from './error-response.ts'
import { openApiDocument } from './openapi.ts'
import { nameOfRoute, type Route } from './route.ts'
import { routeTable } from './route-table.ts'

/** A caller, and who the same credentials stand for now: null once they are no longer good. */
export type SignedIn = { caller: Caller; again: () => Promise<Caller | null> }
/** The console hands its signed-in caller over in `env`; everyone else brings a bearer token. */
export type ApiEnv = { Bindings: { signedIn?: SignedIn } }

/**
 * The HTTP API as one fetch handler. Every route stands in the route table with its policy; what is not there is refused, and nobody
 * learns more than that without a valid token.
 */
export function createApi(deps: ApiDeps): OpenAPIHono<ApiEnv> {
  const api = new OpenAPIHono<ApiEnv>()
  api.get('/health', async (context) => {
    await answerOfDatabase(deps.sql`select 1`)
    return context.json({ ok: true })
  })
  api.get('/openapi.json', (context) => context.json(openApiDocument(deps.config)))
  for (const route of routeTable) {
    const path = `/api/platform${route.path.replace(/\{(\w+)\}/g, ':$1')}`
    api.on(route.method.toUpperCase(), path, (context) => answer(route, context, deps))
  }
  api.notFound(async (context) => {
    await callerOf(context, deps)
    throw new AppError('ROUTE_NOT_FOUND', `there is no ${context.req.method} ${context.req.path}; see /openapi.json`)
  })
  api.onError((thrown) => errorResponse(thrown, deps))
  return api
}

async function answer(route: Route, context: Context<ApiEnv>, deps: ApiDeps): Promise<Response> {
  const { caller, again } = await callerOf(context, deps)
  const request = context.req.raw
  const input = await route.read(request, context.req.param())
  const subject = await authorise(route.policy, input.subjectName, caller, deps)
  const stillGood = async () => {
    const now = await again()
    return now !== null && isPermitted(now, route.policy, subject)
  }
  const call: Call = { ...deps, caller, request, stillGood }
  if (route.method === 'get' || route.goesOn) return input.handle(call, subject)
  const deed = { action: nameOfRoute(route), app: appOf(subject) ?? input.subjectName, detail: input.detail }
  const actor = actorOf(caller, request, context.env?.signedIn ? 'console' : null)
  return accountFor(deps, actor, deed, () => input.handle(call, subject))
}

async function callerOf(context: Context<ApiEnv>, deps: ApiDeps): Promise<SignedIn> {
  if (context.env?.signedIn) return context.env.signedIn
  const caller = await identify(context.req.raw, deps)
  const again = async () => {
    try {
      return await identify(context.req.raw, deps)
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === 'UNAUTHENTICATED') return null
      throw thrown
    }
  }
  return { caller, again }
}
