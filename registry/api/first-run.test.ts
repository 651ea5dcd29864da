import { afterAll, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { routeTable } from './route-table.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

const host = 'console.localhost:8080'
const origin = { origin: `http://${host}` }

// Nobody has a token yet. Whoever comes over the network is nobody; the first token is made on the server (cli/up/access.ts).
test('C3: a platform that nobody has claimed is claimed by nobody over the network', async () => {
  expect(await plane.sql`select from tokens`).toHaveLength(0)
  for (const { method, path } of routeTable) {
    const takesBody = method === 'post' || method === 'put'
    const json = takesBody ? { name: 'admin', scope: 'admin', platform_role: 'admin', password: 'x' } : undefined
    const asked = `/api/platform${path.replace(/\{\w+\}/g, 'admin')}`
    expect((await plane.ask(method.toUpperCase(), asked, { json })).status, asked).toBe(401)
    expect((await plane.ask(method.toUpperCase(), asked, { json, host, headers: origin })).status, asked).toBe(401)
  }
  const guesses = [{ code: 'A'.repeat(43) }, { name: 'admin', password: 'admin' }, { name: 'root', password: '' }, {}]
  for (const path of ['/session', '/welcome', '/setup', '/install', '/register', '/'])
    for (const json of guesses)
      expect([400, 401, 404], path).toContain((await plane.ask('POST', path, { host, headers: origin, json })).status)

  for (const table of ['tokens', 'people', 'console_sessions', 'apps'])
    expect(await plane.sql`select from ${plane.sql(table)}`, table).toHaveLength(0)
})
