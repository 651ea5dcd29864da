import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const fetchApp = (text: string) => ({
  kind: 'fetch' as const,
  server: { 'index.js': `export default { fetch: () => new Response(${JSON.stringify(text)}) }` },
})
const serverApp = (text: string) => ({
  kind: 'server' as const,
  server: {
    'index.mjs': `import { createServer } from 'node:http'
createServer((request, response) => response.end(${JSON.stringify(text)})).listen(3000)`,
  },
})

test('a static site, a fetch app and a server app are each served under their own host', async () => {
  const site = await edge.deploy('site', { kind: 'static', files: { 'index.html': 'a page' } })
  await edge.deploy('hono', fetchApp('from fetch'))
  await edge.deploy('express', serverApp('from a server'))

  const page = await edge.ask('site', '/')
  expect(page).toMatchObject({ status: 200, body: 'a page' })
  expect(page.headers['x-atelier-deployment']).toBe(site.version)
  expect(await edge.ask('hono', '/')).toMatchObject({ status: 200, body: 'from fetch' })
  expect(await edge.ask('express', '/')).toMatchObject({ status: 200, body: 'from a server' })
})
