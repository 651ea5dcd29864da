import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiProperties, describedRoutes, seedPlane } from '../../test/support/api-properties.ts'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { openApiDocument } from './openapi.ts'

// C4, C10, I7: each route of the document gets requests as it wants them, and such as nobody wants; longer in test/full.
const numRuns = 20

const plane = await startControlPlane()
afterAll(() => plane.close())

const document = openApiDocument(plane.config)
let properties: ApiProperties
beforeAll(async () => {
  properties = new ApiProperties(plane, document, await seedPlane(plane))
})

test.each(describedRoutes(document))('C4: $name answers whatever it gets as it is described', async (route) => {
  await properties.check(route, numRuns)
})

test('and the requests were of both kinds', () => {
  const seen = [...properties.statuses.keys()]
  expect(seen).toEqual(expect.arrayContaining([200, 204, 400, 401, 403, 404]))
  expect(properties.statuses.get(200)).toBeGreaterThan(numRuns)
})
