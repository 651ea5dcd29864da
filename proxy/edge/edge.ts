import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { lingerAtEnd } from '../../registry/lingering-close.ts'
import { refuse, type Upgrades } from './app/upgrades.ts'
import { type ControlPlane, noticeFor } from './control-plane.ts'
import type { InFlight } from './drain.ts'
import { checkHandshake, checkRequest } from './guard.ts'
import * as pages from './pages.ts'
import { pinOf } from './pins.ts'
import type { ReservedName, RouteTable } from './route-table.ts'
import { RoutedRequests, type RoutedRequestsDeps } from './routed-requests.ts'
import { type Handshake, RoutedUpgrades, type RoutedUpgradesDeps } from './routed-upgrades.ts'
import type { StallWatch } from './stall-watch.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import { TurnedAway } from './turned-away.ts'
import { VisitAnswers, type VisitAnswersDeps } from './visit-answers.ts'
import { endVisit, Visits, type VisitsDeps } from './visits.ts'

export type EdgeDeps = {
  table: RouteTable
  controlPlane: ControlPlane
  upgrades: Upgrades
  stalls: StallWatch
  trusted: TrustedProxies
} & VisitsDeps &
  VisitAnswersDeps &
  Omit<RoutedRequestsDeps & RoutedUpgradesDeps, 'visits' | 'answers'>

const wholeAnswer = { headersSent: true, statusCode: 200 }

/** What the edge does with a request: host → route → arm → file or app. Knows no sockets of its own: `listener.ts` gives it requests. */
export class Edge {
  readonly inFlight: InFlight
  readonly #deps: EdgeDeps
  readonly #visits: Visits
  readonly #answers: VisitAnswers
  readonly #requests: RoutedRequests
  readonly #upgrades: RoutedUpgrades
  readonly #turnedAway = new TurnedAway()
  #isClosing = false

  constructor(deps: EdgeDeps) {
    this.#deps = deps
    this.#visits = new Visits(deps)
    this.#answers = new VisitAnswers(deps)
    this.inFlight = this.#answers.inFlight
    const parts = { ...deps, visits: this.#visits, answers: this.#answers }
    this.#requests = new RoutedRequests(parts)
    this.#upgrades = new RoutedUpgrades(parts)
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    if (this.#turnedAway.has(request.socket)) return
    if (this.#isClosing) response.shouldKeepAlive = false
    const admitted = checkRequest(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if (found && 'route' in found && 'target' in admitted) {
      this.#requests.serve(found.route, admitted.target, request, response)
      return
    }
    this.inFlight.add(response)
    if ('status' in admitted) {
      this.#turnedAway.add(request.socket)
      lingerAtEnd(request, { evenWhole: true })
      pages.writeNotice(request, response, pages.badRequest(admitted.status, admitted.reason), ['connection', 'close'])
    } else if (!found) this.#answers.refuse(request, response, pages.unknownHost(admitted.host))
    else if ('reserved' in found) this.#serveReserved(found.reserved, admitted.target, request, response)
  }

  /** Answers a request for a small file in memory with one write (see `answerEarly`). Null: nothing has been done, and `handle` takes it. */
  answerEarly(request: IncomingMessage): 'whole' | 'begun' | null {
    const { socket } = request
    if (this.#isClosing || this.#turnedAway.has(socket)) return null
    const admitted = checkRequest(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if (!found || 'reserved' in found || 'status' in admitted) return null
    const { route } = found
    // Who is to get which version is decided with a response to say it in.
    if (!route.live || route.candidate || route.rollout || route.gate || pinOf(request)) return null
    const ready = this.#deps.deployments.find(route.live.id)?.loaded?.files.ready(request, admitted.target)
    if (!ready) return null
    if (!ready.write(socket)) return 'begun'
    const visit = this.#visits.choose(route, admitted.target, request)
    visit?.deployment.inFlight.end(visit.deployment.inFlight.begin(socket))
    if (visit) endVisit(visit, wholeAnswer)
    return 'whole'
  }

  /** A WebSocket handshake. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    if (this.#turnedAway.has(socket)) {
      socket.destroySoon()
      return
    }
    this.#deps.upgrades.count(socket, this.#answers.endless)
    const admitted = checkHandshake(request)
    const found = 'status' in admitted ? null : this.#deps.table.find(admitted.host)
    if ('status' in admitted) refuse({ request, socket }, pages.badRequest(admitted.status, admitted.reason))
    else if (!found) refuse({ request, socket }, pages.unknownHost(admitted.host))
    else if ('route' in found) void this.#upgrades.serve(found.route, admitted.target, { request, socket, head })
    else this.#upgradeReserved(found.reserved, admitted.target, { request, socket, head })
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
    await this.#answers.endless.cut()
  }

  /** A connection that is to be used for nothing, whatever it has sent. */
  turnAway(socket: Socket, notice: pages.Notice): void {
    this.#turnedAway.refuse(socket, notice)
  }

  #serveReserved(name: ReservedName, target: string, request: IncomingMessage, response: ServerResponse): void {
    const { trusted, stalls, controlPlane } = this.#deps
    // A push may take its time. What still comes of a body when its answer has been given is wanted by nobody, and is read all the same: its
    // client may look for the answer behind it.
    const answered = () => {
      stalls.add(request, response)
      request.unpipe().resume()
    }
    if (!request.complete) response.once('close', answered)
    void controlPlane.serve(name, request, response, { target, forwarding: trusted.forwardingOf(request) })
  }

  #upgradeReserved(name: ReservedName, target: string, handshake: Handshake): void {
    const { upgrades, trusted, controlPlane } = this.#deps
    upgrades.pass({
      ...{ ...handshake, target, headers: [] },
      forwarding: trusted.forwardingOf(handshake.request),
      address: controlPlane.address(name),
      onFailure: (error) => noticeFor(error, name),
    })
  }
}
