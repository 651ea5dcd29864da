import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { closeLingering, lingerAtEnd } from '../../registry/lingering-close.ts'
import type { Log } from '../../registry/log.ts'
import type { EdgeRoute } from '../edge-messages.ts'
import {
  type AppRequest,
  type AppRequestDeps,
  type AppRequestLimits,
  noticeFor as appNoticeFor,
  serveFromApp,
} from './app/app-request.ts'
import { refuse, type Upgrades } from './app/upgrades.ts'
import type { CachedApps } from './cache/cached-app.ts'
import type { ControlPlane } from './control-plane.ts'
import { noticeFor as platformNoticeFor } from './control-plane.ts'
import type { CountedRequest } from './counting/counted-request.ts'
import type { Counting } from './counting/counting.ts'
import type { Deployment, DeploymentRef, Loaded } from './deployment.ts'
import type { Deployments } from './deployments.ts'
import { InFlight } from './drain.ts'
import { type Admitted, checkHandshake, checkRequest } from './guard.ts'
import * as pages from './pages.ts'
import { type Pin, type Pins, pinOf } from './pins.ts'
import { gateChallenge, hideGate, type PreviewGate } from './preview-gate.ts'
import { type RouteTable, refOf } from './route-table.ts'
import { assign, isSplit } from './split.ts'
import type { StallWatch } from './stall-watch.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { VisitorHeaders, Visitors } from './visitors.ts'

export type EdgeDeps = {
  table: RouteTable
  deployments: Deployments
  apps: CachedApps
  controlPlane: ControlPlane
  upgrades: Upgrades
  stalls: StallWatch
  visitors: Visitors
  counting: Counting
  pins: Pins
  gate: PreviewGate
  trusted: TrustedProxies
  appsDomain: string
  limits: AppRequestLimits
  log: Log
}

/** `counted` null: of a preview, or of a tester. `isPrivate`: the answer is for nobody else. `asked` is there when the app is. */
type Visit = {
  routeId: string
  deployment: Deployment
  visitor: VisitorHeaders | null
  isPrivate: boolean
  counted: CountedRequest | null
  asked: AppRequest | null
}

// So many are read on until they have heard why: they come above the most that a client may hold.
const mostTurnedAway = 1_000

/** What the edge does with a request: host → route → arm → file or app. Knows no sockets of its own: `listener.ts` gives it requests. */
export class Edge {
  readonly inFlight = new InFlight()
  readonly #deps: EdgeDeps
  readonly #endless = new InFlight()
  // Connections that end with a refusal. The parser goes on reading them, and what stands behind a request with two readings is not one.
  readonly #refused = new WeakSet<Socket>()
  readonly #appDeps: AppRequestDeps
  #turnedAway = 0
  #isClosing = false

  constructor(deps: EdgeDeps) {
    const { limits, log, appsDomain } = deps
    this.#deps = deps
    const onEndless = (endless: ServerResponse) => this.#endless.add(endless)
    this.#appDeps = { limits, log, cookieSuffix: appsDomain, onEndless }
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    if (this.#refused.has(request.socket)) return
    if (this.#isClosing) response.shouldKeepAlive = false
    const admitted = checkRequest(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if (found && 'route' in found && 'target' in admitted) {
      this.#serveRoute(found.route, admitted, request, response)
      return
    }
    this.inFlight.add(response)
    if ('status' in admitted) {
      this.#refused.add(request.socket)
      lingerAtEnd(request, { evenWhole: true })
      pages.writeNotice(request, response, pages.badRequest(admitted.status, admitted.reason), ['connection', 'close'])
    } else if (!found) this.#writeNotice(request, response, pages.unknownHost(admitted.host))
    else if ('reserved' in found) {
      const call = { target: admitted.target, forwarding: this.#deps.trusted.forwardingOf(request) }
      // A push may take its time. What still comes of a body when its answer has been given is wanted by nobody, and is read all the same: its
      // client may look for the answer behind it.
      const answered = () => {
        this.#deps.stalls.add(request, response)
        request.unpipe().resume()
      }
      if (!request.complete) response.once('close', answered)
      void this.#deps.controlPlane.serve(found.reserved, request, response, call)
    }
  }

  /** Answers a request for a small file in memory with one write (see `answerEarly`). Null: nothing has been done, and `handle` takes it. */
  answerEarly(request: IncomingMessage): 'whole' | 'begun' | null {
    const { socket } = request
    if (this.#isClosing || this.#refused.has(socket)) return null
    const admitted = checkRequest(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if (!found || 'reserved' in found || 'status' in admitted) return null
    const { route } = found
    // Who is to get which version is decided with a response to say it in.
    if (!route.live || route.candidate || route.rollout || route.gate || pinOf(request)) return null
    const ready = this.#deps.deployments.find(route.live.id)?.loaded?.files.ready(request, admitted.target)
    if (!ready) return null
    if (!ready.write(socket)) return 'begun'
    const visit = this.#visit(route, admitted.target, request)
    visit?.deployment.inFlight.end(visit.deployment.inFlight.begin(socket))
    if (visit) this.#over(visit, wholeAnswer)
    return 'whole'
  }

  /** A WebSocket handshake. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    if (this.#refused.has(socket)) {
      socket.destroySoon()
      return
    }
    this.#count(socket, this.#endless)
    const admitted = checkHandshake(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if ('status' in admitted) refuse({ request, socket }, pages.badRequest(admitted.status, admitted.reason))
    else if (!found) refuse({ request, socket }, pages.unknownHost(admitted.host))
    else if ('route' in found) void this.#upgradeRoute(found.route, admitted, { request, socket, head })
    else {
      this.#deps.upgrades.pass({
        ...{
          request,
          socket,
          head,
          target: admitted.target,
          headers: [],
          forwarding: this.#deps.trusted.forwardingOf(request),
        },
        address: this.#deps.controlPlane.address(found.reserved),
        onFailure: (error) => platformNoticeFor(error, found.reserved),
      })
    }
  }

  /** From now on every answer is the last on its connection, and says so: what a client sent after it would be cut. */
  lastAnswers(): void {
    this.#isClosing = true
    for (const one of this.inFlight) if (one instanceof ServerResponse) one.shouldKeepAlive = false
  }

  /**
   * Cuts what has no end of its own: event streams and WebSockets, whose clients connect again by themselves. Resolves when they are gone.
   */
  async cutEndless(): Promise<void> {
    await this.#endless.cut()
  }

  /** A connection that is to be used for nothing, whatever it has sent. */
  turnAway(socket: Socket, notice: pages.Notice): void {
    this.#refused.add(socket)
    if (this.#turnedAway >= mostTurnedAway) {
      socket.end(pages.noticeResponse(notice), () => socket.destroy())
      return
    }
    this.#turnedAway++
    socket.once('close', () => this.#turnedAway--)
    closeLingering(socket, pages.noticeResponse(notice))
  }

  // A WebSocket is not cut like a response: it is told.
  #count(socket: Socket, inFlight: InFlight): void {
    const ongoing = { destroy: () => this.#deps.upgrades.end(socket) }
    const place = inFlight.begin(ongoing)
    socket.once('close', () => inFlight.end(place))
  }

  // Of what follows, a body may still be on its way.
  #writeNotice(request: IncomingMessage, response: ServerResponse, notice: pages.Notice): void {
    if (!request.complete) this.#deps.stalls.add(request, response)
    pages.writeNotice(request, response, notice)
  }

  #serveRoute(route: EdgeRoute, { target }: Admitted, request: IncomingMessage, response: ServerResponse): void {
    const pin = pinOf(request)
    if (pin) {
      this.#servePinned(route, pin, target, request, response).catch((thrown: unknown) => {
        this.#deps.log.error({ err: thrown }, 'request not handled')
        response.destroy()
      })
      return
    }
    if (route.gate) {
      this.#serveGated(route, target, request, response).catch((thrown: unknown) => {
        this.#deps.log.error({ err: thrown }, 'request not handled')
        response.destroy()
      })
      return
    }
    this.#serveVisitor(route, target, request, response)
  }

  // `pass`: what shows from now on that the visitor has given the preview's password.
  #serveVisitor(
    route: EdgeRoute,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
    pass: VisitorHeaders | null = null,
  ): void {
    const visit = this.#visit(route, target, request)
    if (!visit) {
      this.inFlight.add(response)
      this.#writeNotice(request, response, pages.neverDeployed(route.appId, route.branch))
      return
    }
    this.#serveVisit(route.gate ? { ...visit, visitor: pass, isPrivate: true } : visit, target, request, response)
  }

  // Those with a cookie are let in at once.
  async #serveGated(
    route: EdgeRoute,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { gate, trusted } = this.#deps
    const isKnown = gate.isOpen(route, request)
    if (!isKnown) {
      this.inFlight.add(response)
      const notice = await gate.ask(route, request)
      if (response.destroyed) return
      if (notice) {
        if (!request.complete) this.#deps.stalls.add(request, response)
        pages.writeNotice(request, response, notice, gateChallenge)
        return
      }
    }
    hideGate(request, { isByPassword: !isKnown })
    const pass = () => gate.cookieFor(route, trusted.forwardingOf(request).protocol)
    this.#serveVisitor(route, target, request, response, isKnown ? null : pass)
  }

  async #servePinned(
    route: EdgeRoute,
    pin: Pin,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    this.inFlight.add(response)
    const pinned = await this.#deps.pins.find(route, pin)
    if (response.destroyed) return
    if ('notice' in pinned) this.#writeNotice(request, response, pinned.notice)
    else this.#serveVisit(this.#pinnedVisit(route, pinned.ref), target, request, response)
  }

  #serveVisit(visit: Visit, target: string, request: IncomingMessage, response: ServerResponse): void {
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
      this.#over(visit, response)
    })
    const loaded = deployment.loaded
    if (loaded) this.#serveLoaded(visit, loaded, target, request, response)
    else void this.#serveWhenLoaded(visit, target, request, response)
  }

  // Its answer is with the client, or never will be.
  #over({ counted, asked }: Visit, response: Pick<ServerResponse, 'headersSent' | 'statusCode'>): void {
    counted?.over(response)
    asked?.over()
  }

  #serveLoaded(
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
        if (!response.destroyed) this.#serveLoaded(visit, { files, host }, target, request, response)
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

  async #serveWhenLoaded(
    visit: Visit,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { deployment } = visit
    try {
      const loaded = await within(deployment.whenLoaded(), this.#deps.limits.waitForHostMs)
      if (response.destroyed) return
      if (loaded) this.#serveLoaded(visit, loaded, target, request, response)
      else pages.writeNotice(request, response, pages.appStarting(deployment.ref.appId, 2), deployment.headers)
    } catch (thrown) {
      if (response.destroyed) return
      pages.writeNotice(
        request,
        response,
        appNoticeFor(thrown, deployment.ref.appId, this.#deps.limits),
        deployment.headers,
      )
    }
  }

  async #upgradeRoute(
    route: EdgeRoute,
    { target }: Admitted,
    { request, socket, head }: { request: IncomingMessage; socket: Socket; head: Buffer },
  ): Promise<void> {
    const pin = pinOf(request)
    const pinned = pin && (await this.#deps.pins.find(route, pin))
    if (pinned && 'notice' in pinned) {
      refuse({ request, socket }, pinned.notice)
      return
    }
    if (!pinned && route.gate) {
      const isKnown = this.#deps.gate.isOpen(route, request)
      const notice = isKnown ? null : await this.#deps.gate.ask(route, request)
      if (notice) {
        refuse({ request, socket }, notice)
        return
      }
      hideGate(request, { isByPassword: !isKnown })
    }
    if (socket.destroyed) return
    const visit = pinned ? this.#pinnedVisit(route, pinned.ref) : this.#visit(route, target, request)
    if (!visit) {
      refuse({ request, socket }, pages.neverDeployed(route.appId, route.branch))
      return
    }
    const { deployment, counted } = visit
    const { ref, headers } = deployment
    const answer = (notice: pages.Notice) => {
      counted?.refused(notice.status)
      refuse({ request, socket }, notice)
    }
    this.#count(socket, deployment.inFlight)
    socket.once('close', () => counted?.left())
    try {
      const { host } = await deployment.whenLoaded()
      if (!host) {
        answer(pages.pageNotFound())
        return
      }
      counted?.asked()
      const { socketPath, speaks } = await host.whenUp(this.#deps.limits.waitForHostMs)
      if (socket.destroyed) return
      if (speaks === 'channel') {
        answer(pages.noUpgrades(ref.appId))
        return
      }
      const lost = pages.connectionLost(ref.appId)
      this.#deps.upgrades.pass({
        ...{ request, socket, head, target, address: { socketPath }, headers },
        forwarding: this.#deps.trusted.forwardingOf(request),
        onFailure: () => {
          counted?.refused(lost.status)
          return lost
        },
        onAnswer: (status) => counted?.answered(status, 'for one', false),
      })
    } catch (thrown) {
      answer(appNoticeFor(thrown, ref.appId, this.#deps.limits))
    }
  }

  // Without awaiting anything, so that no flip comes between the choice and the count of requests in flight.
  #visit(route: EdgeRoute, target: string, request: IncomingMessage): Visit | null {
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

  #bringCookie(routeId: string, visitorId: string, request: IncomingMessage): string[] {
    const { visitors, trusted } = this.#deps
    const { protocol } = trusted.forwardingOf(request)
    return ['set-cookie', visitors.cookieFor(routeId, visitorId, protocol)]
  }

  #pinnedVisit(route: EdgeRoute, ref: DeploymentRef): Visit {
    const deployment = this.#deps.deployments.want(ref)
    return { routeId: route.id, deployment, visitor: null, isPrivate: true, counted: null, asked: null }
  }
}

const wholeAnswer = { headersSent: true, statusCode: 200 }
// Beside what the app says: of several, a cache goes by the strictest.
const privateHeaders = ['cache-control', 'private, no-store', 'cdn-cache-control', 'no-store']

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
