import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import type { EdgeRoute } from '../edge-messages.ts'
import { assign, isSplit, tossFor } from './split.ts'
import { Visitors } from './visitors.ts'

const visitors = Array.from({ length: 100_000 }, (_, index) => `visitor-${index}-0123456789`)
const armOf = (weight: number, visitor: string, rollout = 'r1') => tossFor({ rollout, weight }, visitor).arm
const share = (weight: number) =>
  visitors.filter((visitor) => armOf(weight, visitor) === 'candidate').length / visitors.length

const routed = (id: string) => ({ id, version: id, number: 1, manifestKey: '', manifestSha256: '' })
const rollout = {
  ...{ id: 'r1', stage: 0, segment: 0, from: 'old', to: 'new' },
  ...{ slowMs: null, tooSlowMs: null, warmupSec: 0 },
}
const route: EdgeRoute = {
  ...{ id: 'route', appId: 'app', environment: 'production', branch: 'main', label: 'app', generation: 1 },
  ...{ weight: 50, live: routed('old'), candidate: routed('new'), rollout },
}

test('a weight is the share of visitors that see the candidate, within half a point of 100,000', () => {
  for (const weight of [1, 5, 25, 50, 75, 99]) expect(Math.abs(share(weight) * 100 - weight)).toBeLessThan(0.5)
})

test('a visitor stays on an arm while the weight stands, and only moves towards the candidate while it grows', () => {
  for (const visitor of visitors.slice(0, 2_000)) {
    const arms = [0, 5, 25, 50, 100].map((weight) => armOf(weight, visitor))
    expect(arms.join()).toMatch(/^(live,?)*(candidate,?)*$/)
    expect(arms.at(0)).toBe('live')
    expect(arms.at(-1)).toBe('candidate')
  }
})

test('another rollout takes other visitors', () => {
  const chosen = (rollout: string) => visitors.filter((visitor) => armOf(10, visitor, rollout) === 'candidate')
  const first = new Set(chosen('r1'))
  const both = chosen('r2').filter((visitor) => first.has(visitor))
  expect(both.length / first.size).toBeCloseTo(0.1, 1)
})

test('the unit of a visitor tells nothing of the arm, and is another in another rollout', () => {
  const units = visitors.slice(0, 1_000).map((visitor) => tossFor({ rollout: 'r1', weight: 50 }, visitor).unit)
  expect(units.every((unit) => /^[0-9a-f]{16}$/.test(unit))).toBe(true)
  expect(new Set(units).size).toBe(1_000)
  expect(tossFor({ rollout: 'r2', weight: 50 }, 'visitor').unit).not.toBe(
    tossFor({ rollout: 'r1', weight: 50 }, 'visitor').unit,
  )
})

test('who brings the cookie back gets the arm of the request it was set with', () => {
  const known = new Visitors(randomBytes(32).toString('base64'))
  for (let index = 0; index < 200; index++) {
    const first = assign(route, 'theme=dark', known)
    const [cookie] = known.cookieFor('route', first?.visitor?.id ?? '', 'http').split(';')
    const second = assign(route, `theme=dark; ${cookie}`, known)
    expect(second?.visitor).toEqual({ id: first?.visitor?.id, isKnown: true })
    expect(second?.arm).toBe(first?.arm)
  }
})

test('without a rollout nobody is asked who they are', () => {
  const known = new Visitors('')
  const alone = { ...route, candidate: null, rollout: null, weight: 0 }
  expect(assign(alone, 'atelier_visitor=x', known)).toMatchObject({ arm: 'live', visitor: null, toss: null })
  expect(assign({ ...alone, live: null }, undefined, known)).toBeNull()
})

test('at no weight all go to the old deployment, at 100 % to the new one, and neither needs a cookie', () => {
  const known = new Visitors(randomBytes(32).toString('base64'))
  const at = (weight: number, more: Partial<EdgeRoute> = {}) => assign({ ...route, weight, ...more }, undefined, known)
  expect(at(0)?.chosen.id).toBe('old')
  expect(at(100)?.chosen.id).toBe('new')
  expect(at(0, { live: routed('new'), candidate: null })?.chosen.id).toBe('new')
  expect([0, 50, 100].map((weight) => isSplit({ ...route, weight }))).toEqual([false, true, false])
  expect(isSplit({ ...route, candidate: null })).toBe(false)
})
