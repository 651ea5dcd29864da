import { expect, test } from 'vitest'
import { LoadWatch } from './load-watch.ts'

const look = (watch: LoadWatch, times: number, busy: (number | null)[]) =>
  Array.from({ length: times }, () => watch.look(busy))

test('one more is wanted when all have been busy for two looks, and again after two more', () => {
  const watch = new LoadWatch()
  expect(look(watch, 4, [0.95])).toEqual([null, 'more', null, 'more'])
  expect(look(watch, 4, [0.95, 0.3])).toEqual([null, null, null, null])
  expect(look(watch, 1, [0.95, 0.9])).toEqual([null])
  expect(look(watch, 1, [0.2, 0.9])).toEqual([null])
  expect(look(watch, 2, [0.95, 0.9])).toEqual([null, 'more'])
})

test('one less is wanted when the others could have done it all for six looks, and never less than one', () => {
  const watch = new LoadWatch()
  expect(look(watch, 6, [0.2, 0.2, 0.2])).toEqual([null, null, null, null, null, 'fewer'])
  expect(look(watch, 20, [0]).every((wish) => wish === null)).toBe(true)
})

test('nothing is wanted of what nothing is known of', () => {
  expect(look(new LoadWatch(), 10, [1, null]).every((wish) => wish === null)).toBe(true)
})
