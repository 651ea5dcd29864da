import { afterAll, beforeAll, test } from 'vitest'
import { openApiDocument } from '../../registry/api/openapi.ts'
import { ApiProperties, describedRoutes, seedPlane } from '../support/api-properties.ts'
import { startControlPlane } from '../support/control-plane.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

const document = openApiDocument(plane.config)
let properties: ApiProperties
beforeAll(async () => {
  properties = new ApiProperties(plane, document, await seedPlane(plane))
})

test.each(describedRoutes(document))('C4: $name answers 500 requests of any kind as it is described', async (route) => {
  await properties.check(route, 500)
})
