import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto'

/** Visitors are kept on their arm by this cookie; it is set only during a rollout. */
export const visitorCookie = 'atelier_visitor'

/** `isKnown`: the id came with the request. Else it is new, and only a cookie brings it back. */
export type Visitor = { id: string; isKnown: boolean }
/** Flat pairs that bring a new visitor's id back; they are made when they are sent. */
export type VisitorHeaders = () => string[]

const keptForSec = 7 * 24 * 3600
const signatureBytes = 16
// An app may have set cookies of this name for some path, and those come first; more than a few are somebody's game.
const mostTries = 4
const mostVerified = 10_000
const cookiePattern = new RegExp(
  `(?:^|;)\\s*${visitorCookie}=([0-9a-f-]{36})\\.([A-Za-z0-9_-]{22})(?=\\s*(?:;|$))`,
  'g',
)

/**
 * Who visits: a random id in a cookie of the app's host, signed for its route with a key that all proxies share. Nobody has an id that was not given
 * to them by chance, so nobody chooses an arm, or is many visitors without asking for each.
 */
export class Visitors {
  readonly #key: Buffer
  // Signatures that have been found right: a visitor comes back with every file of a page.
  readonly #verified = new Set<string>()

  /** `key`: base64. */
  constructor(key: string) {
    this.#key = Buffer.from(key, 'base64')
  }

  /** The visitor that a Cookie header names, or a new one. */
  of(routeId: string, cookies: string | undefined): Visitor {
    const known = cookies === undefined ? null : this.#read(routeId, cookies)
    return known === null ? { id: randomUUID(), isKnown: false } : { id: known, isKnown: true }
  }

  /** As a Set-Cookie header. `protocol`: by which the visitor came, as far as is known. */
  cookieFor(routeId: string, id: string, protocol: 'http' | 'https'): string {
    const signature = this.#sign(routeId, id).toString('base64url')
    return `${visitorCookie}=${id}.${signature}; Path=/; Max-Age=${keptForSec}; HttpOnly; SameSite=Lax${protocol === 'https' ? '; Secure' : ''}`
  }

  #read(routeId: string, cookies: string): string | null {
    if (!cookies.includes(visitorCookie)) return null
    for (const [, id = '', signature = ''] of cookies.matchAll(cookiePattern).take(mostTries)) {
      if (this.#isRight(routeId, id, signature)) return id
    }
    return null
  }

  #isRight(routeId: string, id: string, signature: string): boolean {
    const named = `${routeId}/${id}.${signature}`
    if (this.#verified.has(named)) return true
    if (!timingSafeEqual(Buffer.from(signature, 'base64url'), this.#sign(routeId, id))) return false
    if (this.#verified.size >= mostVerified) this.#verified.clear()
    this.#verified.add(named)
    return true
  }

  #sign(routeId: string, id: string): Buffer {
    return createHmac('sha256', this.#key).update(`${routeId}/${id}`).digest().subarray(0, signatureBytes)
  }
}
