import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { emptyManifest } from '../../test/support/manifest.ts'
import { FileStore } from '../bundle-store/file.ts'
import { routesKey } from '../bundle-store/keys.ts'
import { createDeployment } from '../deployments.ts'
import { setMember } from '../members.ts'
import type { PlatformRole, Role, Scope } from '../rights.ts'
import { createApi } from './api.ts'
import type { Route } from './route.ts'
import { routeTable } from './route-table.ts'
import { type Sample, samples } from './test-samples.ts'

// C1, C6: every route of the table against every kind of caller. A new route is in here by being in the table; what it needs to be asked
// properly stands in test-samples.ts, and a route without a sample fails.
const plane = await startControlPlane()
afterAll(() => plane.close())

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const build = { app: 'any', version: '1.0.0', build: 'abcdef' }
const routes = JSON.stringify({ framework: 'static', read_from: 'build', routes: [], static: [], notes: [] })
const manifest = JSON.stringify({ ...emptyManifest, ...build, app_id: build.app, routes_sha256: sha256(routes) })
beforeAll(async () => {
  const store = new FileStore(join(plane.home, 'store'))
  await store.put('manifest.json', Buffer.from(manifest))
  await store.put(routesKey(build), Buffer.from(routes))
})

/** `role`: on the app that is asked about; `other`: on another one. `limit`: the one app the token is good for. */
type Kind = {
  scope: Scope
  limit?: 'app' | 'other'
  person?: { platformRole: PlatformRole; role?: Role; other?: Role }
}
const kinds: Record<string, Kind> = {
  'a token for everything': { scope: 'admin' },
  'a token to deploy': { scope: 'deploy' },
  'a token to read': { scope: 'read' },
  "the app's own token": { scope: 'deploy', limit: 'app' },
  "the app's own token to read": { scope: 'read', limit: 'app' },
  'a token of scope admin for the app': { scope: 'admin', limit: 'app' },
  "another app's token": { scope: 'deploy', limit: 'other' },
  'an admin of the platform': { scope: 'admin', person: { platformRole: 'admin' } },
  'an admin with a token to deploy': { scope: 'deploy', person: { platformRole: 'admin' } },
  'an admin with a token to read': { scope: 'read', person: { platformRole: 'admin' } },
  "an admin with another app's token": { scope: 'admin', limit: 'other', person: { platformRole: 'admin' } },
  'an owner': { scope: 'admin', person: { platformRole: 'guest', role: 'owner' } },
  'an owner with a token to deploy': { scope: 'deploy', person: { platformRole: 'guest', role: 'owner' } },
  'an owner with a token to read': { scope: 'read', person: { platformRole: 'guest', role: 'owner' } },
  "an owner with the app's token": { scope: 'deploy', limit: 'app', person: { platformRole: 'member', role: 'owner' } },
  'a deployer': { scope: 'admin', person: { platformRole: 'member', role: 'deployer' } },
  'a viewer': { scope: 'admin', person: { platformRole: 'member', role: 'viewer' } },
  'a viewer with a token to deploy': { scope: 'deploy', person: { platformRole: 'guest', role: 'viewer' } },
  'an owner of another app': { scope: 'admin', person: { platformRole: 'member', other: 'owner' } },
  'a guest without a role': { scope: 'admin', person: { platformRole: 'guest' } },
}

// What is expected is said here in words of its own, not with what the API decides by.
const rightsOfScope = {
  admin: ['read', 'deploy', 'create', 'admin'],
  deploy: ['read', 'deploy', 'create'],
  read: ['read'],
}
const rightsOfRole = { owner: ['read', 'deploy', 'admin'], deployer: ['read', 'deploy'], viewer: ['read'] }

function isAllowed({ scope, limit, person }: Kind, needs: Sample['needs'], of: 'app' | 'platform' | 'own'): boolean {
  if (!rightsOfScope[scope].includes(needs)) return false
  if (limit && (needs === 'create' || needs === 'admin')) return false
  if (of === 'own') return true
  if (of === 'platform') {
    const isEnough = person?.platformRole === 'admin' || (person?.platformRole === 'member' && needs === 'create')
    return !limit && (!person || isEnough)
  }
  if (limit === 'other') return false
  return !person || person.platformRole === 'admin' || (person.role ? rightsOfRole[person.role].includes(needs) : false)
}

const nameOf = ({ method, path }: Route) => `${method} ${path}`
const sampleOf = (route: Route): Sample => {
  const sample = samples[nameOf(route)]
  if (!sample) throw new Error(`no sample for ${nameOf(route)}: say how it is asked, in test-samples.ts`)
  return sample
}

let other: string
const callers = new Map<string, { id: string | null; token: (app: string) => Promise<string> }>()
beforeAll(async () => {
  other = await plane.app()
  for (const [name, { scope, limit, person }] of Object.entries(kinds)) {
    const made = person && (await plane.person(person.platformRole, person.other ? { [other]: person.other } : {}))
    const limitOf = (app: string) => (limit === undefined ? null : limit === 'app' ? app : other)
    callers.set(name, {
      id: made?.id ?? null,
      token: (app) => (made ? made.token(scope, limitOf(app)) : plane.token(scope, limitOf(app))),
    })
  }
})

/** An app with everything there is to ask about, and somebody with the role each kind of caller has on it. */
async function prepare(kind: string) {
  const app = await plane.app()
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
  const person = await plane.person('member', { [app]: 'deployer' })
  const caller = callers.get(kind)
  const role = kinds[kind]?.person?.role
  if (caller?.id && role) await setMember(plane.sql, { app, personId: caller.id, role, by: 'root' })
  return { app, id: queued.id, person: person.name, token: caller ? await caller.token(app) : null }
}

async function ask(route: Route, at: Omit<Awaited<ReturnType<typeof prepare>>, 'token'>, token: string | null) {
  const sample = sampleOf(route)
  const { app, person } = at
  const named: Record<string, string> = {
    app,
    person,
    id: sample.id ?? at.id,
    run: 'nosuchruning',
    webhook: 'nosuchhook',
    delivery: '1',
  }
  const path = route.path.replace(/\{(\w+)\}/g, (_, name: string) => named[name] ?? name).slice(1)
  const query = sample.query ? `?${sample.query.replace('APP', app)}` : ''
  return plane.ask(route.method.toUpperCase(), `${path}${query}`, {
    token,
    ...(sample.json && { json: sample.json(app) }),
    ...(sample.body && { body: sample.body }),
  })
}

describe.each(routeTable.map((route) => [nameOf(route), route] as const))('C1, C6: %s', (_, route) => {
  test('without a valid token: 401 and nothing more, whatever is asked about', async () => {
    const at = await prepare('anon')
    const nothing = { app: 'nosuchapp', id: 'nosuchdeploy', person: 'nobody' }
    for (const token of [null, 'garbage', `atl_${'A'.repeat(43)}`]) {
      const answer = await ask(route, at, token)
      expect(answer.status).toBe(401)
      expect(answer.json).toEqual({ error: { code: 'UNAUTHENTICATED', message: expect.any(String) } })
      expect(answer.headers['www-authenticate']).toContain('Bearer')
      expect((await ask(route, nothing, token)).text).toBe(answer.text)
    }
  })

  test.each(Object.entries(kinds))('%s', async (name, kind) => {
    const { needs, of = 'app' } = sampleOf(route)
    const { token, ...at } = await prepare(name)
    const before = await plane.sql<{ count: number }[]>`select count(*)::integer from audit_entries`
    const answer = await ask(route, at, token)
    const [after] = await plane.sql<{ count: number }[]>`select count(*)::integer from audit_entries`
    const written = (after?.count ?? 0) - (before[0]?.count ?? 0)

    if (isAllowed(kind, needs, of)) {
      expect([401, 403], answer.text).not.toContain(answer.status)
      expect(answer.text).not.toMatch(/"(APP|DEPLOYMENT|PERSON)_NOT_FOUND"/)
      expect(answer.status).toBeLessThan(500)
      expect(written, 'entries in the audit log').toBe(route.method === 'get' || route.goesOn ? 0 : 1)
      return
    }
    expect(written, 'entries in the audit log').toBe(0)
    const seesIt = of !== 'app' || isAllowed(kind, 'read', 'app')
    expect(answer).toMatchObject(
      seesIt
        ? { status: 403, json: { error: { code: 'FORBIDDEN' } } }
        : { status: 404, json: { error: { code: expect.stringMatching(/^(APP|DEPLOYMENT)_NOT_FOUND$/) } } },
    )
    // What one may not see is answered like what is not there; but for a name that one may take, and would learn is taken.
    if (seesIt || (route.policy.createsApp && isAllowed(kind, 'create', 'platform'))) return
    const missing = await ask(route, { app: 'nosuchapp', id: 'nosuchdeploy', person: at.person }, token)
    const unnamed = (text: string) => text.replaceAll(at.app, 'APP').replaceAll(at.id, 'ID')
    expect(unnamed(answer.text)).toBe(missing.text.replaceAll('nosuchapp', 'APP').replaceAll('nosuchdeploy', 'ID'))
  })
})

test('C1: every route says who may, and nothing is served or described that is not in the table', async () => {
  for (const { policy } of routeTable) expect(policy).toEqual(expect.objectContaining({ action: expect.any(String) }))
  const { json } = await plane.ask('GET', '/openapi.json')
  const described = json as { paths: Record<string, Record<string, unknown>> }
  const operations = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path.replace('/api/platform', '')}`),
  )
  // Open to everybody: a hook shows its own signature (hook-door.test.ts).
  const open = ['GET /health', 'GET /openapi.json', 'GET /docs', 'POST /hooks/:hook']
  const openDescribed = open.map((one) =>
    one.replace(/^\w+/, (method) => method.toLowerCase()).replace(':hook', '{hook}'),
  )
  expect(operations.sort()).toEqual([...routeTable.map(nameOf), ...openDescribed].sort())

  const served = createApi(plane).routes.map(({ method, path }) => `${method} ${path}`)
  const inTable = routeTable.map(
    ({ method, path }) => `${method.toUpperCase()} /api/platform${path.replace(/\{(\w+)\}/g, ':$1')}`,
  )
  expect(served.sort()).toEqual([...inTable, ...open].sort())
  for (const path of ['/health', '/openapi.json', '/docs']) {
    expect(described.paths[path]?.['get'], path).toMatchObject({ security: [], summary: expect.any(String) })
    expect((await plane.ask('GET', path)).status, path).toBe(200)
  }
  expect(described.paths['/hooks/{hook}']?.['post']).toMatchObject({ security: [] })
})

let adminToken: string
beforeAll(async () => {
  adminToken = await plane.token('admin')
})

test.each(['GET', 'POST', 'DELETE', 'PATCH', 'TRACE'])('%s of what is not in the table is refused', async (method) => {
  expect((await plane.ask(method, 'nothing/here')).status).toBe(401)
  const known = await plane.ask(method, 'nothing/here', { token: adminToken })
  expect(known).toMatchObject({ status: 404, json: { error: { code: 'ROUTE_NOT_FOUND' } } })
  expect((await plane.ask(method, '/', { token: adminToken })).status).toBe(404)
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
  expect((await plane.ask('GET', 'whoami', { host, token: adminToken })).status).toBe(status)
})

test('a revoked or expired token is a stranger', async () => {
  const secret = await plane.token('read')
  expect((await plane.ask('GET', 'whoami', { token: secret })).status).toBe(200)
  await plane.sql`update tokens set expires_at = now() - interval '1 second' where name = 'read-all'`
  expect((await plane.ask('GET', 'whoami', { token: secret })).status).toBe(401)
  await plane.sql`update tokens set expires_at = null where name = 'read-all'`
})
