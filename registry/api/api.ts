import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { actorOfRequest, addressOf, networkOf } from '../actor.ts'
import type { Deployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import type { Caller } from '../rights.ts'
import { appOf, authorise, identify, isPermitted } from './access.ts'
import { accountFor } from './account.ts'
import type { ApiDeps, Call, Subject } from './call.ts'
import { errorResponse } from './error-response.ts'
import { openRoutes } from './open-routes.ts'
import { openApiDocument } from './openapi.ts'
import { RateLimits, withLimits } from './rate-limits.ts'
import { onceOnly } from './repeats.ts'
import { nameOfRoute, type Route } from './route.ts'
import { routeTable } from './route-table.ts'

/** A caller, and who the same credentials stand for now: null once they are no longer good. */
export type SignedIn = { caller: Caller; again: () => Promise<Caller | null> }
/** The console hands its signed-in caller over in `env`; everyone else brings a bearer token. */
export type ApiEnv = { Bindings: { signedIn?: SignedIn } }

/**
 * The HTTP API as one fetch handler. Every route stands in the route table with its policy, but for the few that are open to everybody
 * (open-routes.ts); what is not there is refused, and nobody learns more than that without a valid token.
 */
export function createApi(deps: ApiDeps): OpenAPIHono<ApiEnv> {
  const api = new OpenAPIHono<ApiEnv>()
  const limits = new RateLimits(deps.config.apiLimits)
  const document = () => openApiDocument(deps.config)
  for (const { method, path, isCounted, handle } of openRoutes)
    api.on(method.toUpperCase(), inHono(path), async (context) => {
      if (isCounted) await limits.take('address', clientOf(context))
      return handle(context.req.raw, context.req.param(), { ...deps, document })
    })
  for (const route of routeTable) {
    api.on(route.method.toUpperCase(), `/api/platform${inHono(route.path)}`, (context) =>
      answer(route, context, deps, limits),
    )
  }
  api.notFound(async (context) => {
    await callerOf(context, deps)
    throw new AppError('ROUTE_NOT_FOUND', `there is no ${context.req.method} ${context.req.path}; see /docs`)
  })
  api.onError((thrown) => errorResponse(thrown, deps))
  return api
}

async function answer(route: Route, context: Context<ApiEnv>, deps: ApiDeps, limits: RateLimits): Promise<Response> {
  const ofAddress = await limits.take('address', clientOf(context))
  const { caller, again } = await callerOf(context, deps)
  const left = context.env?.signedIn ? ofAddress : await limits.take('token', caller.tokenId ?? '')
  const request = context.req.raw
  const input = await route.read(request, context.req.param())
  let subject: Subject = { app: null, deployment: null }
  const stillGood = async () => {
    const now = await again()
    return now !== null && isPermitted(now, route.policy, subject)
  }
  const call: Call = { ...deps, caller, request, stillGood }
  const act = async (request: Request) => {
    subject = await authorise(route.policy, input.subjectName, caller, deps)
    if (route.method === 'get' || route.goesOn) return input.handle(call, subject)
    const deed = { action: nameOfRoute(route), app: appOf(subject) ?? input.subjectName, detail: input.detail }
    const actor = actorOfRequest(caller, request, context.env?.signedIn ? 'console' : null)
    return accountFor(deps, actor, deed, () => input.handle({ ...call, request }, subject))
  }
  // What was answered once is answered again only to who may still have it.
  const about = (deployment: Deployment) => {
    subject = { app: null, deployment }
    if (!isPermitted(caller, route.policy, subject))
      throw new AppError('FORBIDDEN', `${caller.name} may not do that any more`)
  }
  const isOnce = route.method !== 'get' && !route.goesOn
  const response = isOnce ? await onceOnly({ call, about, route: nameOfRoute(route), input }, act) : await act(request)
  return withLimits(response, left)
}

function inHono(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1')
}

function clientOf(context: Context): string {
  const address = addressOf(context.req.header('x-forwarded-for') ?? null)
  return address === null ? 'local' : networkOf(address)
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
