import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BadUnits, lnBar, lnEvidence } from './evidence.ts'

const of = (weight: number, candidate: number, all: number): BadUnits => ({
  weight,
  candidate,
  baseline: all - candidate,
})

test.each<[string, BadUnits[], number]>([
  ['2 of 2 at 5 %', [of(0.05, 2, 2)], 4.158998],
  ['3 of 3 at 5 %', [of(0.05, 3, 3)], 6.776487],
  ['4 of 5 at 5 %', [of(0.05, 4, 5)], 8.025619],
  ['5 of 100 at 5 %', [of(0.05, 5, 100)], -1.500051],
  ['30 of 300 at 5 %', [of(0.05, 30, 300)], 4.452314],
  ['12 of 12 at 50 %', [of(0.5, 12, 12)], 6.949001],
  ['2 of 4 at 5 %, then 6 of 9 at 25 %', [of(0.05, 2, 4), of(0.25, 6, 9)], 5.000388],
])('%s bad units give the evidence that was worked out by another program', (_, segments, expected) => {
  expect(Math.abs(lnEvidence(segments) - expected)).toBeLessThan(1e-6)
})

test('the bars of three compared stages and 1 % are 750 and 3000, and together they are the bound', () => {
  expect(lnBar('stage', 3, 0.01)).toBeCloseTo(6.620073, 6)
  expect(lnBar('half', 3, 0.01)).toBeCloseTo(8.006368, 6)
  const metrics = 2
  const spent = metrics * 3 * (Math.exp(-lnBar('stage', 3, 0.01)) + Math.exp(-lnBar('half', 3, 0.01)))
  expect(spent).toBeCloseTo(0.01, 12)
})

test('a dead candidate is called out at its third failure and not at its second, while the old one has none', () => {
  const bar = lnBar('stage', 3, 0.01)
  expect(lnEvidence([of(0.05, 3, 3)])).toBeGreaterThanOrEqual(bar)
  expect(lnEvidence([of(0.05, 2, 2)])).toBeLessThan(bar)
})

const weight = fc.double({ min: 0.01, max: 0.89, noNaN: true })
const count = fc.nat({ max: 5000 })
const segment = fc.record({ weight, candidate: count, baseline: count })
const segments = fc.array(segment, { minLength: 1, maxLength: 12 })
const burst = fc.double({ min: 1, max: 20, noNaN: true })

test('the evidence is the same in whatever order the segments are taken', () => {
  const shuffled = segments.chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length })),
  )
  fc.assert(
    fc.property(shuffled, burst, ([list, other], factor) => {
      expect(lnEvidence(other, factor)).toBeCloseTo(lnEvidence(list, factor), 6)
    }),
  )
})

test('the evidence is the same wherever a stretch at one weight is cut, so it does not matter when a report arrives', () => {
  fc.assert(
    fc.property(weight, fc.array(fc.tuple(count, count), { minLength: 1, maxLength: 8 }), (at, parts) => {
      const cut = parts.map(([candidate, baseline]) => ({ weight: at, candidate, baseline }))
      const whole = cut.reduce((sum, part) => ({
        weight: at,
        candidate: sum.candidate + part.candidate,
        baseline: sum.baseline + part.baseline,
      }))
      expect(lnEvidence(cut)).toBeCloseTo(lnEvidence([whole]), 6)
    }),
  )
})

test('a further bad unit of the candidate is evidence against it, one of the old deployment is evidence for it', () => {
  fc.assert(
    fc.property(segments, weight, (list, at) => {
      const before = lnEvidence(list)
      expect(lnEvidence([...list, of(at, 1, 1)])).toBeGreaterThan(before)
      expect(lnEvidence([...list, of(at, 0, 1)])).toBeLessThan(before)
    }),
  )
})

test('of one more bad unit that the coin gave to either, nothing is to be expected: E is a fair game, and with bursts less than fair', () => {
  fc.assert(
    fc.property(segment, weight, burst, (given, at, factor) => {
      const start = lnEvidence([given], factor)
      const [mine, theirs] = [of(at, 1, 1), of(at, 0, 1)].map((next) => {
        return Math.exp(lnEvidence([given, next], factor) - start)
      })
      const expected = at * (mine ?? 0) + (1 - at) * (theirs ?? 0)
      expect(expected).toBeLessThan(1 + 1e-9)
      if (factor === 1) expect(expected).toBeGreaterThan(1 - 1e-9)
    }),
    { examples: [[{ weight: 0.05, candidate: 3, baseline: 9 }, 0.05, 1]] },
  )
})

test('without a bad unit there is no evidence, and with millions of them it is still a number', () => {
  expect(lnEvidence([of(0.05, 0, 0)])).toBe(0)
  expect(lnEvidence([])).toBe(0)
  expect(Number.isFinite(lnEvidence([of(0.05, 5e6, 5e6)]))).toBe(true)
  expect(Number.isFinite(lnEvidence([of(0.05, 0, 5e6)]))).toBe(true)
})
