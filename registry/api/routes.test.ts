import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { emptyManifest } from '../../test/support/manifest.ts'
import { FileStore } from '../bundle-store/file.ts'
import { routesKey } from '../bundle-store/keys.ts'
import { createDeployment } from '../deployments.ts'
import type { Route } from './route.ts'
import { routeTable } from './route-table.ts'

// C1, C6: every route of the table against every kind of caller. A new route is in here by being in the table; what it needs to be asked
// properly stands in `samples`, and a route without a sample fails.
const plane = await startControlPlane()
afterAll(() => plane.close())

type Sample = {
  /** What a token must be allowed, said here a second time on purpose: a slip in the table shows. */
  needs: 'read' | 'deploy' | 'create' | 'admin'
  query?: string
  json?: (app: string) => unknown
  body?: Buffer
}

const samples: Record<string, Sample> = {
  'post /apps': { needs: 'create', json: (app) => ({ name: `new-${app}` }) },
  'get /apps': { needs: 'read' },
  'get /apps/{app}': { needs: 'read' },
  'delete /apps/{app}': { needs: 'admin' },
  'post /deploy': { needs: 'deploy', query: 'app=APP', body: Buffer.from('no archive') },
  'post /redeploy': { needs: 'deploy', json: (app) => ({ app_id: app, follow: false }) },
  'post /rollback': { needs: 'deploy', json: (app) => ({ app_id: app, version: '1.0.0' }) },
  'post /promote': { needs: 'deploy', json: (app) => ({ app_id: app, to: '1.0.0' }) },
  'get /apps/{app}/rollout': { needs: 'read' },
  'post /pause': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /resume': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /abort': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /lock': { needs: 'deploy', json: (app) => ({ app_id: app, message: 'migrating' }) },
  'post /unlock': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'get /deploys': { needs: 'read', query: 'app=APP' },
  'get /deployments/{id}': { needs: 'read' },
  'get /deployments/{id}/events': { needs: 'read' },
  'get /deployments/{id}/logs': { needs: 'read' },
  'post /deployments/{id}/cancel': { needs: 'deploy' },
  'get /apps/{app}/diff': { needs: 'read', query: 'from=1.0.0&to=v2' },
  'get /apps/{app}/routes': { needs: 'read' },
  'post /apps/{app}/purge': { needs: 'deploy', json: () => ({ all: true }) },
  'get /apps/{app}/logs': { needs: 'read' },
  'post /apps/{app}/runs': { needs: 'deploy', json: () => ({ command: ['true'] }) },
  'get /apps/{app}/runs': { needs: 'deploy' },
  'post /apps/{app}/runs/{run}/input': { needs: 'deploy', json: () => ({ seq: 0, data: '' }) },
  'post /apps/{app}/runs/{run}/end': { needs: 'deploy', json: () => ({}) },
  'get /apps/{app}/env': { needs: 'read' },
  'get /apps/{app}/databases': { needs: 'read' },
  'put /apps/{app}/env': { needs: 'deploy', json: () => ({ values: { A: '1' } }) },
  'delete /apps/{app}/env': { needs: 'deploy', query: 'names=A' },
  'get /tokens': { needs: 'admin' },
  'post /tokens': { needs: 'admin', json: () => ({ name: 'ci', scope: 'read' }) },
  'delete /tokens/{id}': { needs: 'admin' },
  'post /console-links': { needs: 'read' },
  'get /status': { needs: 'read', query: 'app=APP' },
  'get /whoami': { needs: 'read' },
}

const nameOf = ({ method, path }: Route) => `${method} ${path}`

let secrets: Record<'admin' | 'deploy' | 'read' | 'foreign', string>
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const build = { app: 'any', version: '1.0.0', build: 'abcdef' }
const routes = JSON.stringify({ framework: 'static', read_from: 'build', routes: [], static: [], notes: [] })
const manifest = JSON.stringify({ ...emptyManifest, ...build, app_id: build.app, routes_sha256: sha256(routes) })
beforeAll(async () => {
  const store = new FileStore(join(plane.home, 'store'))
  await store.put('manifest.json', Buffer.from(manifest))
  await store.put(routesKey(build), Buffer.from(routes))
})

let app: string
let other: string
beforeAll(async () => {
  other = await plane.app()
  secrets = {
    admin: await plane.token('admin'),
    deploy: await plane.token('deploy'),
    read: await plane.token('read'),
    foreign: await plane.token('deploy', other),
  }
})

async function ask(route: Route, token: string | null) {
  // An app of its own for each request: some of them delete it.
  app = await plane.app()
  await plane.deployed(app, '1.0.0')
  await plane.deployed(app, '1.0.1')
  await plane.sql`
    update builds
    set manifest_key = 'manifest.json',
        manifest_sha256 = ${sha256(manifest)}
    where app_id = ${app}
  `
  const queued = await createDeployment(plane.sql, {
    app,
    target: { environment: 'production', branch: 'main', label: app },
    version: '1.0.2',
    source: 'upload',
    by: 'ada',
  })
  const sample = samples[nameOf(route)]
  if (!sample) throw new Error(`no sample for ${nameOf(route)}: say how it is asked`)
  const id = route.path.startsWith('/tokens') ? 'nosuchtoken' : queued.id
  const path = route.path.replace('{app}', app).replace('{id}', id).replace('{run}', 'nosuchruning').slice(1)
  const query = sample.query ? `?${sample.query.replace('APP', app)}` : ''
  return plane.ask(route.method.toUpperCase(), `${path}${query}`, {
    token,
    ...(sample.json && { json: sample.json(app) }),
    ...(sample.body && { body: sample.body }),
  })
}

const needs = (route: Route, action: string) => samples[nameOf(route)]?.needs === action
const isAboutOneApp = ({ path }: Route) => !/^\/(apps|tokens.*|console-links|whoami)$/.test(path)

describe.each(routeTable.map((route) => [nameOf(route), route] as const))('%s', (_, route) => {
  test.each([
    ['no token', null],
    ['garbage', 'garbage'],
    ['a well-formed token nobody has', `atl_${'A'.repeat(43)}`],
  ])('%s: 401 and nothing more', async (_kind, token) => {
    const answer = await ask(route, token)
    expect(answer.status).toBe(401)
    expect(answer.json).toEqual({ error: { code: 'UNAUTHENTICATED', message: expect.any(String) } })
    expect(answer.headers['www-authenticate']).toContain('Bearer')
  })

  test('a token that may only read is let through to reading and nothing else', async () => {
    const answer = await ask(route, secrets.read)
    if (needs(route, 'read')) expect(answer.status).toBeLessThan(300)
    else expect(answer).toMatchObject({ status: 403, json: { error: { code: 'FORBIDDEN' } } })
  })

  test("another app's token sees nothing of this one", async () => {
    const answer = await ask(route, secrets.foreign)
    if (isAboutOneApp(route)) expect(answer.status).toBe(404)
    else if (needs(route, 'read')) expect(answer.text).not.toContain(app)
    else expect(answer.status).toBe(403)
  })

  test('a deploy token does everything but create apps for others and rule the platform', async () => {
    const answer = await ask(route, secrets.deploy)
    if (needs(route, 'admin')) expect(answer.status).toBe(403)
    else expect([401, 403]).not.toContain(answer.status)
  })

  test('the admin token passes the gate', async () => {
    const answer = await ask(route, secrets.admin)
    expect([401, 403]).not.toContain(answer.status)
    if (answer.status === 404)
      expect(answer.json).toMatchObject({ error: { code: expect.stringMatching(/^(TOKEN|RUN)_NOT_FOUND$/) } })
  })
})

test('every route says who may, and the table is what is described', async () => {
  for (const { policy } of routeTable) expect(policy).toEqual(expect.objectContaining({ action: expect.any(String) }))
  const { json } = await plane.ask('GET', '/openapi.json')
  const described = json as { paths: Record<string, Record<string, unknown>> }
  const operations = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path.replace('/api/platform', '')}`),
  )
  expect(operations.sort()).toEqual(routeTable.map(nameOf).sort())
})

test.each(['GET', 'POST', 'DELETE', 'PATCH', 'TRACE'])('%s of what is not in the table is refused', async (method) => {
  expect((await plane.ask(method, 'nothing/here')).status).toBe(401)
  const known = await plane.ask(method, 'nothing/here', { token: secrets.admin })
  expect(known).toMatchObject({ status: 404, json: { error: { code: 'ROUTE_NOT_FOUND' } } })
  expect((await plane.ask(method, '/', { token: secrets.admin })).status).toBe(404)
})

test.each([
  ['apps.localhost:8080', 421],
  ['hello.apps.localhost:8080', 421],
  ['evil.example', 421],
  ['api.localhost.evil.example', 421],
  ['127.0.0.1:8080', 421],
  ['api.localhost:8080', 200],
  ['API.LOCALHOST:8080', 200],
])('the host %s answers %i', async (host, status) => {
  expect((await plane.ask('GET', 'whoami', { host, token: secrets.admin })).status).toBe(status)
})

test('a revoked or expired token is a stranger', async () => {
  const secret = await plane.token('read')
  expect((await plane.ask('GET', 'whoami', { token: secret })).status).toBe(200)
  await plane.sql`update tokens set expires_at = now() - interval '1 second' where name = 'read-all'`
  expect((await plane.ask('GET', 'whoami', { token: secret })).status).toBe(401)
  await plane.sql`update tokens set expires_at = null where name = 'read-all'`
})
