import { expect, test } from 'vitest'
import { createDatabase } from '../support/database.ts'
import { TestEdge } from '../support/edge.ts'
import { expectNothingLost, swapUnderLoad } from '../support/swaps.ts'

test('F10: 1,000 swaps under requests, WebSockets, streams and uploads lose none of them, and sick versions get none', async () => {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: 2 })
  const swaps = await swapUnderLoad(edge, 'swapped', { count: 1000, sickEvery: 50 })
  expectNothingLost(swaps)
  expect(swaps.live).toHaveLength(981)
  expect(swaps.refusals).toHaveLength(20)
})
