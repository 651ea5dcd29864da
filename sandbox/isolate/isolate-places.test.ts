import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Places } from './isolate-places.ts'

test('whatever is taken and left, each has a place of its own, and no more places are made than are needed', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (moves) => {
      const places = new Places<object>()
      const there = new Map<number, object>()
      let most = 0
      for (const move of moves) {
        const place = [...there.keys()][move]
        if (place === undefined) {
          const one = {}
          there.set(places.take(one), one)
        } else {
          places.leave(place)
          there.delete(place)
        }
        most = Math.max(most, there.size)
        expect(places.size).toBe(there.size)
        expect(new Set(places)).toEqual(new Set(there.values()))
        for (const [at, one] of there) expect(places.at(at)).toBe(one)
        for (const at of there.keys()) expect(at).toBeLessThan(most)
      }
      expect(places.at(1000)).toBeNull()
    }),
  )
})
