import { createHash, randomBytes } from 'node:crypto'
import type { Route } from '../../registry/routes.ts'

export type Arm = 'live' | 'candidate'
/** What a toss needs of a route. `weight` is the candidate's share in percent. */
export type Split = { rollout: string; weight: number }

/** Visitors are kept on their arm by this cookie; it exists only during a rollout. */
export const visitorCookie = 'atelier_visitor'

/**
 * The arm of a visitor: hash(rollout, visitor) < weight, so a visitor stays on an arm while the weight stands, and only ever moves
 * towards the candidate while it grows.
 */
export function chooseArm({ rollout, weight }: Split, visitor: string): Arm {
  return shareOf(rollout, visitor) * 100 < weight ? 'candidate' : 'live'
}

/**
 * The arm a request of this route goes to. While both arms get traffic a visitor without an id is given one, in `setCookie`: it decides
 * this request already, so the page and what it loads come from one version.
 */
export function assignVisitor(
  { id, live, candidate, weight }: Pick<Route, 'id' | 'weight'> & { live: unknown; candidate: { id: string } | null },
  cookies: string | undefined,
): { arm: Arm; setCookie: string | null } {
  if (!candidate) return { arm: 'live', setCookie: null }
  if (!live) return { arm: 'candidate', setCookie: null }
  if (weight <= 0 || weight >= 100) return { arm: weight <= 0 ? 'live' : 'candidate', setCookie: null }
  const known = readVisitor(cookies)
  const visitor = known ?? randomBytes(12).toString('base64url')
  const arm = chooseArm({ rollout: `${id}/${candidate.id}`, weight }, visitor)
  return { arm, setCookie: known === null ? visitorSetCookie(visitor) : null }
}

/** The visitor id in a Cookie header, or null. */
export function readVisitor(cookies: string | undefined): string | null {
  return cookies?.match(/(?:^|;\s*)atelier_visitor=([A-Za-z0-9_-]{16,64})(?:;|$)/)?.[1] ?? null
}

export function visitorSetCookie(visitor: string): string {
  return `${visitorCookie}=${visitor}; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax`
}

// The first 48 bits of SHA-256 as a fraction of 1.
function shareOf(rollout: string, visitor: string): number {
  return createHash('sha256').update(`${rollout}/${visitor}`).digest().readUIntBE(0, 6) / 2 ** 48
}
