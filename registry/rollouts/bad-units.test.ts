import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type BadUnit, countBadUnits, uniteBadUnits, withBadUnits } from './bad-units.ts'
import { noCounts, type Segment } from './segments.ts'

const unit = (name: string, segment: number, arm: BadUnit['arm'] = 'candidate'): BadUnit => ({
  unit: name,
  segment,
  arm,
})

test('a visitor who breaks behind three edges is one bad unit, where it was seen first', () => {
  const united = uniteBadUnits([[unit('v', 3)], [unit('v', 1, 'baseline')], [unit('v', 2), unit('w', 2)]])
  expect([...united.values()]).toEqual([unit('v', 1, 'baseline'), unit('w', 2)])
  expect(countBadUnits(united.values(), 2)).toEqual({ candidate: 1, baseline: 0 })
})

test('reports may come twice and in any order', () => {
  const arm = fc.constantFrom('candidate' as const, 'baseline' as const)
  const seen = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat({ max: 3 }), arm).map((fields) => unit(...fields))
  fc.assert(
    fc.property(fc.array(fc.array(seen, { maxLength: 6 }), { maxLength: 5 }), (reports) => {
      const again = [...reports, ...reports].reverse().map((report) => [...report].reverse())
      expect(uniteBadUnits(again)).toEqual(uniteBadUnits(reports))
    }),
  )
})

test('units are added to what was counted by request', () => {
  const segment: Segment = {
    stage: 0,
    opens: 'stage',
    weight: 0.05,
    slowMs: null,
    candidate: { ...noCounts, errorUnits: 2 },
    baseline: noCounts,
  }
  const [counted] = withBadUnits([segment], 'errorUnits', uniteBadUnits([[unit('v', 0), unit('w', 0, 'baseline')]]))
  expect(counted).toMatchObject({ candidate: { errorUnits: 3 }, baseline: { errorUnits: 1, slowUnits: 0 } })
})
