import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Log } from '../../registry/log.ts'
import type { EdgeRoute } from '../edge-messages.ts'
import * as pages from './pages.ts'
import { type Pin, type Pins, pinOf } from './pins.ts'
import { gateChallenge, hideGate, type PreviewGate } from './preview-gate.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { VisitAnswers } from './visit-answers.ts'
import type { VisitorHeaders } from './visitors.ts'
import type { Visits } from './visits.ts'

export type RoutedRequestsDeps = {
  visits: Visits
  answers: VisitAnswers
  pins: Pins
  gate: PreviewGate
  trusted: TrustedProxies
  log: Log
}

/** Requests that a route was found for: a tester's goes to the version it names, that of a preview with a password comes by its gate. */
export class RoutedRequests {
  readonly #deps: RoutedRequestsDeps

  constructor(deps: RoutedRequestsDeps) {
    this.#deps = deps
  }

  serve(route: EdgeRoute, target: string, request: IncomingMessage, response: ServerResponse): void {
    const pin = pinOf(request)
    if (pin) this.#end(this.#servePinned(route, pin, target, request, response), response)
    else if (route.gate) this.#end(this.#serveGated(route, target, request, response), response)
    else this.#serveVisitor(route, target, request, response)
  }

  // Nobody else looks at what becomes of it.
  #end(serving: Promise<void>, response: ServerResponse): void {
    serving.catch((thrown: unknown) => {
      this.#deps.log.error({ err: thrown }, 'request not handled')
      response.destroy()
    })
  }

  // `pass`: what shows from now on that the visitor has given the preview's password.
  #serveVisitor(
    route: EdgeRoute,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
    pass: VisitorHeaders | null = null,
  ): void {
    const { visits, answers } = this.#deps
    const visit = visits.choose(route, target, request)
    if (!visit) {
      answers.inFlight.add(response)
      answers.refuse(request, response, pages.neverDeployed(route.appId, route.branch))
      return
    }
    answers.answer(route.gate ? { ...visit, visitor: pass, isPrivate: true } : visit, target, request, response)
  }

  // Those with a cookie are let in at once.
  async #serveGated(
    route: EdgeRoute,
    target: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { gate, trusted, answers } = this.#deps
    const isKnown = gate.isOpen(route, request)
    if (!isKnown) {
      answers.inFlight.add(response)
      const notice = await gate.ask(route, request)
      if (response.destroyed) return
      if (notice) {
        answers.refuse(request, response, notice, gateChallenge)
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
    const { visits, answers, pins } = this.#deps
    answers.inFlight.add(response)
    const pinned = await pins.find(route, pin)
    if (response.destroyed) return
    if ('notice' in pinned) answers.refuse(request, response, pinned.notice)
    else answers.answer(visits.pinned(route, pinned.ref), target, request, response)
  }
}
