import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Log } from '../../registry/log.ts'
import { type AppRequestDeps, type AppRequestLimits, noticeFor, serveFromApp } from './app/app-request.ts'
import type { CachedApps } from './cache/cached-app.ts'
import type { Loaded } from './deployment.ts'
import { InFlight } from './drain.ts'
import * as pages from './pages.ts'
import type { StallWatch } from './stall-watch.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import { endVisit, type Visit } from './visits.ts'

export type VisitAnswersDeps = {
  apps: CachedApps
  stalls: StallWatch
  trusted: TrustedProxies
  appsDomain: string
  limits: AppRequestLimits
  log: Log
}

// Beside what the app says: of several, a cache goes by the strictest.
const privateHeaders = ['cache-control', 'private, no-store', 'cdn-cache-control', 'no-store']

/** Answers visits: with a file, or what the app says, as soon as the deployment is there. Knows what is in flight meanwhile. */
export class VisitAnswers {
  readonly inFlight = new InFlight()
  /** What has no end of its own. */
  readonly endless = new InFlight()
  readonly #deps: VisitAnswersDeps
  readonly #appDeps: AppRequestDeps

  constructor(deps: VisitAnswersDeps) {
    const { limits, log, appsDomain } = deps
    this.#deps = deps
    const onEndless = (endless: ServerResponse) => this.endless.add(endless)
    this.#appDeps = { limits, log, cookieSuffix: appsDomain, onEndless }
  }

  answer(visit: Visit, target: string, request: IncomingMessage, response: ServerResponse): void {
    const { deployment } = visit
    const { stalls } = this.#deps
    // In the same turn of the event loop as the choice: from here on a drain waits for this request.
    const here = this.inFlight.begin(response)
    const there = deployment.inFlight.begin(response)
    const progress = stalls.begin(request, response)
    response.on('close', () => {
      this.inFlight.end(here)
      deployment.inFlight.end(there)
      stalls.end(progress)
      endVisit(visit, response)
    })
    const loaded = deployment.loaded
    if (loaded) this.#answerLoaded(visit, loaded, target, request, response)
    else void this.#answerWhenLoaded(visit, target, request, response)
  }

  /** In place of a visit. Of a request that gets it, a body may still be on its way. */
  refuse(request: IncomingMessage, response: ServerResponse, notice: pages.Notice, headers: string[] = []): void {
    if (!request.complete) this.#deps.stalls.add(request, response)
    pages.writeNotice(request, response, notice, headers)
  }

  #answerLoaded(
    visit: Visit,
    { files, host }: Pick<Loaded, 'files' | 'host'>,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const { routeId, deployment, visitor, isPrivate, counted } = visit
    const call = { request, response, target, routeId, headers: deployment.headers, visitor, isPrivate }
    if (!host) counted?.hasNoApp()
    const isBegun = files.serve(call)
    if (isBegun === true) return
    if (isBegun !== false) {
      void isBegun.then(() => {
        if (!response.destroyed) this.#answerLoaded(visit, { files, host }, target, request, response)
      })
      return
    }
    if (!host) {
      pages.writeNotice(request, response, pages.pageNotFound(), deployment.headers)
      return
    }
    const { ref, headers } = deployment
    const forwarding = this.#deps.trusted.forwardingOf(request)
    counted?.asked()
    // As the site's own rules may have rewritten it.
    const appCall = {
      request,
      response,
      target: call.target,
      asked: target,
      headers,
      visitor,
      ref,
      forwarding,
      counted,
    }
    visit.asked = isPrivate
      ? serveFromApp({ ...appCall, headers: [...headers, ...privateHeaders] }, host, this.#appDeps)
      : this.#deps.apps.serve(appCall, host, this.#appDeps)
  }

  async #answerWhenLoaded(
    visit: Visit,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { ref, headers } = visit.deployment
    const { limits } = this.#deps
    try {
      const loaded = await within(visit.deployment.whenLoaded(), limits.waitForHostMs)
      if (response.destroyed) return
      if (loaded) this.#answerLoaded(visit, loaded, target, request, response)
      else pages.writeNotice(request, response, pages.appStarting(ref.appId, 2), headers)
    } catch (thrown) {
      if (response.destroyed) return
      pages.writeNotice(request, response, noticeFor(thrown, ref.appId, limits), headers)
    }
  }
}

/** What the promise brings, or null after `timeoutMs`. */
async function within<Value>(promise: Promise<Value>, timeoutMs: number): Promise<Value | null> {
  const { promise: tooLong, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), timeoutMs)
  try {
    return await Promise.race([promise, tooLong])
  } finally {
    clearTimeout(timer)
  }
}
