import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Log } from '../../registry/log.ts'
import type { EdgeRoute } from '../edge-messages.ts'
import { type AppRequestLimits, noticeFor } from './app/app-request.ts'
import { refuse, type Upgrades } from './app/upgrades.ts'
import * as pages from './pages.ts'
import { type Pinned, type Pins, pinOf } from './pins.ts'
import { hideGate, type PreviewGate } from './preview-gate.ts'
import type { TrustedProxies } from './trusted-proxies.ts'
import type { Visit, Visits } from './visits.ts'

export type RoutedUpgradesDeps = {
  visits: Pick<Visits, 'choose' | 'pinned'>
  upgrades: Pick<Upgrades, 'count' | 'pass'>
  pins: Pick<Pins, 'find'>
  gate: Pick<PreviewGate, 'isOpen' | 'ask'>
  trusted: Pick<TrustedProxies, 'forwardingOf'>
  limits: AppRequestLimits
  log: Pick<Log, 'error'>
}

/** A handshake; `head`: what came behind it already. */
export type Handshake = { request: IncomingMessage; socket: Socket; head: Buffer }

/** WebSocket handshakes that a route was found for: they come by the same doors as requests (routed-requests.ts). */
export class RoutedUpgrades {
  readonly #deps: RoutedUpgradesDeps

  constructor(deps: RoutedUpgradesDeps) {
    this.#deps = deps
  }

  /** Never rejects. */
  async serve(route: EdgeRoute, target: string, handshake: Handshake): Promise<void> {
    try {
      await this.#serve(route, target, handshake)
    } catch (thrown) {
      // Nobody else looks at what becomes of it, and the process would end.
      this.#deps.log.error({ err: thrown }, 'handshake not handled')
      handshake.socket.destroy()
    }
  }

  async #serve(route: EdgeRoute, target: string, handshake: Handshake): Promise<void> {
    const { request, socket } = handshake
    const { visits } = this.#deps
    const admitted = await this.#admit(route, request)
    if ('notice' in admitted) {
      refuse({ request, socket }, admitted.notice)
      return
    }
    if (socket.destroyed) return
    const visit = admitted.ref ? visits.pinned(route, admitted.ref) : visits.choose(route, target, request)
    if (visit) await this.#pass(visit, target, handshake)
    else refuse({ request, socket }, pages.neverDeployed(route.appId, route.branch))
  }

  // `ref` null: as a visitor.
  async #admit(route: EdgeRoute, request: IncomingMessage): Promise<Pinned | { ref: null }> {
    const { pins, gate } = this.#deps
    const pin = pinOf(request)
    if (pin) return pins.find(route, pin)
    if (!route.gate) return { ref: null }
    const isKnown = gate.isOpen(route, request)
    const notice = isKnown ? null : await gate.ask(route, request)
    if (notice) return { notice }
    hideGate(request, { isByPassword: !isKnown })
    return { ref: null }
  }

  async #pass({ deployment, counted }: Visit, target: string, { request, socket, head }: Handshake): Promise<void> {
    const { upgrades, trusted, limits } = this.#deps
    const { ref, headers } = deployment
    const answer = (notice: pages.Notice) => {
      counted?.refused(notice.status)
      refuse({ request, socket }, notice)
    }
    upgrades.count(socket, deployment.inFlight)
    socket.once('close', () => counted?.left())
    try {
      const { host } = await deployment.whenLoaded()
      if (!host) {
        answer(pages.pageNotFound())
        return
      }
      counted?.asked()
      const { socketPath, speaks } = await host.whenUp(limits.waitForHostMs)
      if (socket.destroyed) return
      if (speaks === 'channel') {
        answer(pages.noUpgrades(ref.appId))
        return
      }
      const lost = pages.connectionLost(ref.appId)
      upgrades.pass({
        ...{ request, socket, head, target, address: { socketPath }, headers },
        forwarding: trusted.forwardingOf(request),
        onFailure: () => {
          counted?.refused(lost.status)
          return lost
        },
        onAnswer: (status) => counted?.answered(status, 'for one', false),
      })
    } catch (thrown) {
      answer(noticeFor(thrown, ref.appId, limits))
    }
  }
}
