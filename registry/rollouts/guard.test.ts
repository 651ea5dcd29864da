import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type GuardClock, lnGuardBar, lnGuardEvidence, stepGuard, toleratedErrorRate } from './guard.ts'

const compared = { windowSec: 300, isCompared: true }
const [quiet, unsure, tripped] = [-3, 2, lnGuardBar]

test('30 of 500 where 2.17 % is tolerated give the evidence that was worked out by another program', () => {
  expect(Math.abs(lnGuardEvidence({ errors: 30, requests: 500 }, 0.0217) - 8.974259)).toBeLessThan(1e-6)
})

test('a good history of 18 000 requests and two points of threshold tolerate 2.2 %', () => {
  expect(toleratedErrorRate({ errors: 18, requests: 18_000 }, 0.02)).toBeCloseTo(0.0217, 4)
})

test('without a history, or where everything fails anyway, the guard says nothing', () => {
  const tolerated = toleratedErrorRate({ errors: 0, requests: 0 }, 0.02)
  expect(lnGuardEvidence({ errors: 500, requests: 500 }, tolerated)).toBe(0)
  expect(lnGuardEvidence({ errors: 500, requests: 500 }, 0.97)).toBe(0)
  expect(lnGuardEvidence({ errors: 500, requests: 500 }, 0.5)).toBeGreaterThan(lnGuardBar)
})

test('a failed request is evidence, a good one is evidence to the contrary', () => {
  const failures = fc
    .nat({ max: 5000 })
    .chain((requests) => fc.record({ errors: fc.nat({ max: requests }), requests: fc.constant(requests) }))
  fc.assert(
    fc.property(failures, fc.double({ min: 0.001, max: 0.9, noNaN: true }), ({ errors, requests }, p0) => {
      const before = lnGuardEvidence({ errors, requests }, p0)
      expect(lnGuardEvidence({ errors: errors + 1, requests: requests + 1 }, p0)).toBeGreaterThan(before)
      expect(lnGuardEvidence({ errors, requests: requests + 1 }, p0)).toBeLessThan(before)
    }),
  )
})

test.each<[string, number, GuardClock, string]>([
  ['nothing is wrong', quiet, { watchSec: 100, heldSec: null }, 'clear'],
  ['it trips', tripped, { watchSec: 100, heldSec: null }, 'afresh'],
  ['half a window has not passed since', tripped, { watchSec: 149, heldSec: 149 }, 'hold'],
  ['half a window was clean', quiet, { watchSec: 150, heldSec: 150 }, 'clear'],
  ['half a window had no requests', 0, { watchSec: 150, heldSec: 150 }, 'clear'],
  ['half a window was bad', tripped, { watchSec: 150, heldSec: 150 }, 'afresh'],
  ['half a window was neither', unsure, { watchSec: 150, heldSec: 150 }, 'afresh'],
  ['the other half is bad too', tripped, { watchSec: 150, heldSec: 300 }, 'rollback'],
  ['the other half is clean', quiet, { watchSec: 150, heldSec: 300 }, 'clear'],
  ['the other half is neither', unsure, { watchSec: 150, heldSec: 300 }, 'hold'],
])('in a compared stage, when %s: %#', (_, lnEvidence, clock, step) => {
  expect(stepGuard(lnEvidence, clock, compared)).toBe(step)
})

test('where nothing is left to compare with, tripping rolls back at once', () => {
  const alone = { windowSec: 300, isCompared: false }
  expect(stepGuard(tripped, { watchSec: 1, heldSec: null }, alone)).toBe('rollback')
  expect(stepGuard(unsure, { watchSec: 300, heldSec: null }, alone)).toBe('clear')
})
