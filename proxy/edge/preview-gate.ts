import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { networkOf } from '../../registry/actor.ts'
import { opensGate } from '../../registry/preview-settings.ts'
import type { EdgeRoute } from '../edge-messages.ts'
import type { Notice } from './pages.ts'
import { PasswordTries, type Tried } from './password-tries.ts'
import type { TrustedProxies } from './trusted-proxies.ts'

/** Who has given the password of a preview carries this cookie. */
export const gateCookie = 'atelier_preview'

const keptForSec = 7 * 24 * 3600
const mostKnown = 1000
const mostPasses = 4
const cookiePattern = new RegExp(`(?:^|;)\\s*${gateCookie}=([A-Za-z0-9_-]{43})(?=\\s*(?:;|$))`, 'g')

/**
 * Lets visitors of a preview in who have its password: asked for by HTTP Basic, any user name, and then kept in a cookie, so that an app may use
 * `Authorization` for itself. The password never reaches the app. What probes an app's health asks its host, and never comes by here.
 */
export class PreviewGate {
  readonly #trusted: Pick<TrustedProxies, 'forwardingOf'>
  readonly #tries = new PasswordTries()
  // What has been found right or wrong of late: a browser sends the same password with every file of a page. Apart, so that no number of wrong ones has a right
  // one forgotten.
  readonly #right = new Set<string>()
  readonly #wrong = new Set<string>()
  readonly #asked = new Map<string, Promise<Tried>>()

  constructor({ trusted }: { trusted: Pick<TrustedProxies, 'forwardingOf'> }) {
    this.#trusted = trusted
  }

  /** Whether a request needs no password, or has shown before that it knows it. */
  isOpen(route: EdgeRoute, request: IncomingMessage): boolean {
    if (!route.gate) return true
    const { cookie } = request.headers
    if (!cookie?.includes(gateCookie)) return false
    const expected = Buffer.from(passOf(route.id, route.gate))
    return cookie
      .matchAll(cookiePattern)
      .take(mostPasses)
      .some(([, pass = '']) => timingSafeEqual(Buffer.from(pass), expected))
  }

  /** Whether a request that is not let in by a cookie brings the password; null: it brings the right one. */
  async ask(route: EdgeRoute, request: IncomingMessage): Promise<Notice | null> {
    const password = passwordIn(request.headers.authorization)
    if (password === null || !route.gate) return passwordWanted(route.appId)
    const name = createHash('sha256').update(`${route.gate}\0${password}`).digest('base64url')
    if (this.#right.has(name)) return null
    if (this.#wrong.has(name)) return passwordWanted(route.appId)
    const tried = await this.#try(name, { gate: route.gate, password, request })
    if (tried.isRight === null) return tooManyPasswords(route.appId, tried)
    return tried.isRight ? null : passwordWanted(route.appId)
  }

  // The same password that comes again meanwhile is tried once.
  async #try(
    name: string,
    { gate, password, request }: { gate: string; password: string; request: IncomingMessage },
  ): Promise<Tried> {
    const { clientAddress } = this.#trusted.forwardingOf(request)
    const client = networkOf(clientAddress)
    const key = `${client} ${name}`
    const trying = this.#asked.get(key) ?? this.#tries.take(client, () => opensGate(gate, password))
    this.#asked.set(key, trying)
    try {
      const tried = await trying
      if (tried.isRight !== null) remember(tried.isRight ? this.#right : this.#wrong, name)
      return tried
    } finally {
      this.#asked.delete(key)
    }
  }

  /** What lets the visitor in from now on, as flat header pairs. A new password makes it worthless. */
  cookieFor({ id, gate }: EdgeRoute, protocol: 'http' | 'https'): string[] {
    const secure = protocol === 'https' ? '; Secure' : ''
    const pass = passOf(id, gate ?? '')
    return ['set-cookie', `${gateCookie}=${pass}; Path=/; Max-Age=${keptForSec}; HttpOnly; SameSite=Lax${secure}`]
  }
}

/** Takes the platform's own password and cookie off a request that goes on to the app. */
export function hideGate(request: IncomingMessage, { isByPassword }: { isByPassword: boolean }): void {
  const { rawHeaders, headers } = request
  for (let index = rawHeaders.length - 2; index >= 0; index -= 2) {
    const name = rawHeaders[index]?.toLowerCase()
    if (name === 'authorization' && isByPassword) rawHeaders.splice(index, 2)
    else if (name === 'cookie') hideCookie(rawHeaders, index)
  }
  if (isByPassword) delete headers.authorization
}

function hideCookie(rawHeaders: string[], index: number): void {
  const left = (rawHeaders[index + 1] ?? '').split(';').filter((one) => !one.trim().startsWith(`${gateCookie}=`))
  if (left.length === 0) rawHeaders.splice(index, 2)
  else rawHeaders[index + 1] = left.join(';').trim()
}

/** What asks a browser for the password, as flat header pairs. */
export const gateChallenge = ['www-authenticate', 'Basic realm="preview", charset="UTF-8"', 'x-robots-tag', 'noindex']

function passwordIn(authorization: string | undefined): string | null {
  const [, encoded] = /^Basic ([A-Za-z0-9+/]{1,2000}={0,2})$/i.exec(authorization ?? '') ?? []
  if (!encoded) return null
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon === -1 ? null : text.slice(colon + 1)
}

// The hash of a password is known to the platform alone, and so is what is made of it.
function passOf(routeId: string, gate: string): string {
  return createHmac('sha256', gate).update(`preview ${routeId}`).digest('base64url')
}

function remember(names: Set<string>, name: string): void {
  if (names.size >= mostKnown) names.clear()
  names.add(name)
}

function passwordWanted(app: string): Notice {
  return {
    status: 401,
    code: 'PREVIEW_PASSWORD',
    title: `This preview of ${app} wants a password`,
    message: 'Whoever sent you here has it. Any user name will do.',
  }
}

function tooManyPasswords(app: string, { whose, retryAfterSec }: Extract<Tried, { isRight: null }>): Notice {
  const who = whose === 'client' ? 'from your address' : 'at this moment'
  return {
    status: whose === 'client' ? 429 : 503,
    code: 'PREVIEW_PASSWORD',
    title: `This preview of ${app} wants a password`,
    message: `Too many are being tried ${who}. Please try again.`,
    retryAfterSec,
  }
}
