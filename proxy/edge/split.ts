import { hash } from 'node:crypto'
import type { EdgeRoute, EdgeRouted } from '../edge-messages.ts'
import type { Visitor, Visitors } from './visitors.ts'

export type Arm = 'live' | 'candidate'
/** What a toss needs of a route. `weight` is the candidate's share in percent. */
export type Split = { rollout: string; weight: number }
/** `unit`: what stands for the visitor in the rollout's counts, 8 bytes in hexadecimal digits. */
export type Toss = { arm: Arm; unit: string }

/** Which of a route's deployments a request goes to, and who made it. `toss` null: there is no rollout, so nobody is asked who they are. */
export type Assigned = { arm: Arm; chosen: EdgeRouted; visitor: Visitor | null; toss: Toss | null }

/**
 * The arm of a visitor: hash(rollout, visitor) < weight, so a visitor stays on an arm while the weight stands, and only ever moves
 * towards the candidate while it grows. The first 48 bits of SHA-256 are a fraction of 1; bytes 8 to 15 are the unit.
 */
export function tossFor({ rollout, weight }: Split, visitor: string): Toss {
  const digest = hash('sha256', `${rollout}/${visitor}`)
  const share = Number.parseInt(digest.slice(0, 12), 16) / 2 ** 48
  return { arm: share * 100 < weight ? 'candidate' : 'live', unit: digest.slice(16, 32) }
}

/**
 * The deployment that answers a request of this route; null: it has none yet. While there is a rollout a visitor without an id is given one: it
 * decides this request already, so the page and what it loads come from one version.
 */
export function assign(route: EdgeRoute, cookies: string | undefined, visitors: Visitors): Assigned | null {
  const { live, candidate, rollout } = route
  if (rollout === null && candidate === null) return live && { arm: 'live', chosen: live, visitor: null, toss: null }
  const first = live ?? candidate
  if (!first) return null
  const visitor = visitors.of(route.id, cookies)
  const toss = tossFor({ rollout: rollout?.id ?? `${route.id}/${candidate?.id}`, weight: route.weight }, visitor.id)
  if (candidate && (toss.arm === 'candidate' || !live)) return { arm: 'candidate', chosen: candidate, visitor, toss }
  return { arm: 'live', chosen: first, visitor, toss }
}

/** Whether both arms get visitors, so that each must find its own again. */
export function isSplit({ live, candidate, weight }: EdgeRoute): boolean {
  return live !== null && candidate !== null && weight > 0 && weight < 100
}
