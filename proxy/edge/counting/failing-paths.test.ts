import { expect, test } from 'vitest'
import { FailingPaths } from './failing-paths.ts'

test('a path that fails often is told, whether it came before a thousand others, among them or after', () => {
  const failing = new FailingPaths('candidate')
  for (let time = 0; time < 3; time++) failing.add('/early', 500)
  for (let other = 0; other < 1000; other++) {
    failing.add(`/other/${other}`, 500)
    if (other % 100 === 99) failing.add('/among', 502)
  }
  for (let time = 0; time < 20; time++) failing.add('/late', 503)
  expect(failing.worst().slice(0, 3)).toEqual([
    { arm: 'candidate', path: '/late', status: 503, count: 20 },
    { arm: 'candidate', path: '/among', status: 502, count: 10 },
    { arm: 'candidate', path: '/early', status: 500, count: 3 },
  ])
})
