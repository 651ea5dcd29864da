import type { IncomingMessage, ServerResponse } from 'node:http'
import type { EdgeRoute } from '../edge-messages.ts'
import type { AppRequest } from './app/app-request.ts'
import type { CountedRequest } from './counting/counted-request.ts'
import type { Counting } from './counting/counting.ts'
import type { Deployment, DeploymentRef } from './deployment.ts'
import type { Deployments } from './deployments.ts'
import { refOf } from './route-table.ts'
import { assign, isSplit } from './split.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { VisitorHeaders, Visitors } from './visitors.ts'

export type VisitsDeps = {
  deployments: Deployments
  visitors: Visitors
  counting: Counting
  trusted: TrustedProxies
}

/**
 * One request at the deployment that was chosen for it. `counted` null: of a preview, or of a tester. `isPrivate`: the answer is for nobody else. `asked` is
 * there when the app is.
 */
export type Visit = {
  routeId: string
  deployment: Deployment
  visitor: VisitorHeaders | null
  isPrivate: boolean
  counted: CountedRequest | null
  asked: AppRequest | null
}

/** Chooses the deployment that answers a request. */
export class Visits {
  readonly #deps: VisitsDeps

  constructor(deps: VisitsDeps) {
    this.#deps = deps
  }

  /** Null: nothing was ever deployed. Without awaiting anything, so that no flip comes between the choice and the count of requests in flight. */
  choose(route: EdgeRoute, target: string, request: IncomingMessage): Visit | null {
    const { counting, visitors, deployments } = this.#deps
    const assigned = assign(route, request.headers.cookie, visitors)
    if (!assigned) return null
    const startedAt = performance.now()
    const tossed = counting.toss(route, assigned, target, startedAt)
    const deployment = deployments.find(tossed.serves.id) ?? deployments.want(refOf(route, tossed.serves))
    const counted = route.environment === 'production' ? counting.begin(deployment, route.id, startedAt, tossed) : null
    const { visitor } = assigned
    const isMet = visitor !== null && !visitor.isKnown && isSplit(route)
    const headers = isMet ? () => this.#bringCookie(route.id, visitor.id, request) : null
    return { routeId: route.id, deployment, visitor: headers, isPrivate: false, counted, asked: null }
  }

  /** That of a tester, at the deployment that was asked for. */
  pinned(route: EdgeRoute, ref: DeploymentRef): Visit {
    const deployment = this.#deps.deployments.want(ref)
    return { routeId: route.id, deployment, visitor: null, isPrivate: true, counted: null, asked: null }
  }

  #bringCookie(routeId: string, visitorId: string, request: IncomingMessage): string[] {
    const { visitors, trusted } = this.#deps
    const { protocol } = trusted.forwardingOf(request)
    return ['set-cookie', visitors.cookieFor(routeId, visitorId, protocol)]
  }
}

/** Its answer is with the client, or never will be. */
export function endVisit(
  { counted, asked }: Visit,
  response: Pick<ServerResponse, 'headersSent' | 'statusCode'>,
): void {
  counted?.over(response)
  asked?.over()
}
