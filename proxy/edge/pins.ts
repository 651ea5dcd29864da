import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { AppError, ERRORS } from '../../registry/errors.ts'
import type { EdgeRoute, FromEdge, ToEdge } from '../edge-messages.ts'
import type { DeploymentRef } from './deployment.ts'
import type { Notice } from './pages.ts'
import { refOf } from './route-table.ts'

/** What a tester asks for: this version, whoever else gets which. */
export type Pin = { version: string; token: string }
export type Pinned = { ref: DeploymentRef } | { notice: Notice }

type Answer = Extract<ToEdge, { type: 'pinned' }>

// So long a token that was withdrawn still opens, and one that was refused is refused without a look.
const rememberMs = { granted: 10_000, refused: 2_000 }
const mostRemembered = 500
const mostWaiting = 50
const answerWithinMs = 15_000

/** The pin that a request carries; null: it asks for none. A version without a token is nothing: anybody may send that. */
export function pinOf({ headers }: IncomingMessage): Pin | null {
  const version = headers['x-atelier-version']
  if (version === undefined) return null
  const token = headers['x-atelier-token']
  return typeof version === 'string' && typeof token === 'string' ? { version, token } : null
}

/** Pinned requests go to the version they name. Who may, and where that version is, the main process knows; what it has said holds for a moment. */
export class Pins {
  readonly #probeToken: Buffer
  readonly #send: (message: FromEdge) => void
  readonly #known = new Map<string, { pinned: Pinned; until: number }>()
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  #turn = 0

  /** `probeToken`: with it the platform's own probes name a deployment of the route by its id. */
  constructor({ probeToken, send }: { probeToken: string; send: (message: FromEdge) => void }) {
    this.#probeToken = Buffer.from(probeToken)
    this.#send = send
  }

  async find(route: EdgeRoute, pin: Pin): Promise<Pinned> {
    if (this.#isProbe(pin)) return findProbed(route, pin)
    const key = `${route.id} ${pin.version} ${pin.token}`
    const known = this.#known.get(key)
    if (known && performance.now() < known.until) return known.pinned
    if (this.#waiting.size >= mostWaiting)
      return { notice: noticeOf({ code: 'INTERNAL', message: 'too many are asked for' }) }
    const pinned = await this.#ask(route, pin)
    this.#remember(key, pinned)
    return pinned
  }

  /** The main process has answered. */
  hear(answer: Answer): void {
    this.#waiting.get(answer.turn)?.(answer)
  }

  async #ask({ id }: EdgeRoute, { version, token }: Pin): Promise<Pinned> {
    const turn = ++this.#turn
    const { promise, resolve } = Promise.withResolvers<Answer | null>()
    const timer = setTimeout(() => resolve(null), answerWithinMs)
    this.#waiting.set(turn, resolve)
    this.#send({ type: 'pin', turn, routeId: id, version, token })
    const answer = await promise
    clearTimeout(timer)
    this.#waiting.delete(turn)
    if (answer?.ref) return { ref: answer.ref }
    return {
      notice: noticeOf(answer?.error ?? { code: 'DATABASE_UNAVAILABLE', message: 'nobody can look that up now' }),
    }
  }

  #remember(key: string, pinned: Pinned): void {
    if (this.#known.size >= mostRemembered) this.#known.clear()
    const forMs = 'ref' in pinned ? rememberMs.granted : rememberMs.refused
    this.#known.set(key, { pinned, until: performance.now() + forMs })
  }

  #isProbe({ token }: Pin): boolean {
    const given = Buffer.from(token)
    return given.length === this.#probeToken.length && timingSafeEqual(given, this.#probeToken)
  }
}

function findProbed(route: EdgeRoute, { version }: Pin): Pinned {
  const probed = [route.live, route.candidate].find((routed) => routed?.id === version)
  if (probed) return { ref: refOf(route, probed) }
  return { notice: noticeOf(new AppError('DEPLOYMENT_NOT_FOUND', 'no route names it here')) }
}

function noticeOf({ code, message }: { code: string; message: string }): Notice {
  const status = code in ERRORS ? ERRORS[code as keyof typeof ERRORS].status : 500
  const text = `${message.charAt(0).toUpperCase()}${message.slice(1)}.`
  return { status, code, title: 'This version cannot be shown', message: text }
}
