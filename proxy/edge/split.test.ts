import { expect, test } from 'vitest'
import { assignVisitor, chooseArm, readVisitor, visitorSetCookie } from './split.ts'

const visitors = Array.from({ length: 20_000 }, (_, index) => `visitor-${index}-0123456789`)
const share = (weight: number, rollout = 'r1') =>
  visitors.filter((visitor) => chooseArm({ rollout, weight }, visitor) === 'candidate').length / visitors.length

test('a weight is the share of visitors that see the candidate', () => {
  for (const weight of [1, 5, 25, 50, 75]) expect(share(weight)).toBeCloseTo(weight / 100, 2)
})

test('a visitor stays on an arm while the weight stands, and only moves towards the candidate while it grows', () => {
  for (const visitor of visitors.slice(0, 2_000)) {
    const arms = [0, 5, 25, 50, 100].map((weight) => chooseArm({ rollout: 'r1', weight }, visitor))
    expect(arms.join()).toMatch(/^(live,?)*(candidate,?)*$/)
    expect(arms.at(0)).toBe('live')
    expect(arms.at(-1)).toBe('candidate')
  }
})

test('another rollout takes other visitors', () => {
  const chosen = (rollout: string) =>
    visitors.filter((visitor) => chooseArm({ rollout, weight: 10 }, visitor) === 'candidate')
  const first = new Set(chosen('r1'))
  const both = chosen('r2').filter((visitor) => first.has(visitor))
  expect(both.length / first.size).toBeCloseTo(0.1, 1)
})

test('a visitor without a cookie is given one, which puts the next request on the same arm', () => {
  const route = { id: 'route', weight: 50, live: { id: 'old' }, candidate: { id: 'new' } }
  for (let index = 0; index < 200; index++) {
    const { arm, setCookie } = assignVisitor(route, 'theme=dark')
    const visitor = readVisitor(setCookie?.split(';')[0])
    expect(assignVisitor(route, `theme=dark; atelier_visitor=${visitor}`)).toEqual({ arm, setCookie: null })
  }
})

test('no cookie is set when there is nothing to split', () => {
  const route = { id: 'route', live: { id: 'old' }, candidate: { id: 'new' } }
  expect(assignVisitor({ ...route, weight: 0 }, undefined)).toEqual({ arm: 'live', setCookie: null })
  expect(assignVisitor({ ...route, weight: 100 }, undefined)).toEqual({ arm: 'candidate', setCookie: null })
  expect(assignVisitor({ ...route, weight: 50, candidate: null }, undefined)).toEqual({ arm: 'live', setCookie: null })
})

test('only a cookie of ours is taken for a visitor', () => {
  expect(readVisitor('a=1; atelier_visitor=abcdefghijklmnop; b=2')).toBe('abcdefghijklmnop')
  expect(readVisitor(visitorSetCookie('abcdefghijklmnop'))).toBe('abcdefghijklmnop')
  for (const foreign of [
    undefined,
    '',
    'xatelier_visitor=abcdefghijklmnop',
    'atelier_visitor=short',
    'atelier_visitor=<abcdefghijklmnop>',
  ]) {
    expect(readVisitor(foreign)).toBeNull()
  }
})
