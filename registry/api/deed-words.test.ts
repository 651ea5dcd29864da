import { expect, test } from 'vitest'
import { deedWords, wordsOfDeed } from '../deed-words.ts'
import { nameOfRoute } from './route.ts'
import { routeTable } from './route-table.ts'

const isRoute = (action: string) => /^[A-Z]+ \//.test(action)

test('every route that changes something has words for the audit log, and no other has', () => {
  const changing = routeTable.filter(({ method, goesOn }) => method !== 'get' && !goesOn).map(nameOfRoute)
  expect(changing.length).toBeGreaterThan(40)
  expect(Object.keys(deedWords).filter(isRoute).sort()).toEqual(changing.sort())
})

test('the words are words: no two deeds share them, and none shows a route', () => {
  const words = Object.values(deedWords)
  expect(new Set(words).size).toBe(words.length)
  for (const each of words) expect(each).toMatch(/^[a-z][a-z :-]+$/)
})

test('a deed whose route is gone is shown as it was written down', () => {
  expect(wordsOfDeed('POST /rollback')).toBe('roll back')
  expect(wordsOfDeed('POST /was/there/once')).toBe('POST /was/there/once')
  expect(wordsOfDeed('constructor')).toBe('constructor')
})
