import { expect, test } from 'vitest'
import { createDatabase } from './support/database.ts'
import { TestEdge } from './support/edge.ts'
import { expectNothingLost, swapUnderLoad } from './support/swaps.ts'

test('F10: 20 swaps under requests, WebSockets, streams and uploads lose none of them, and a sick version gets none', async () => {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: 2 })
  // The whole load of F10 is that of the bench and of the long tests.
  const size = { requestsPerSecond: 200, sockets: 20, streams: 10, uploads: 5 }
  const swaps = await swapUnderLoad(edge, 'swapped', { count: 20, sickEvery: 10, size })
  expectNothingLost(swaps)
  expect(swaps.live).toHaveLength(19)
  expect(swaps.refusals).toHaveLength(2)
})
