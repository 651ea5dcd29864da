import { text } from 'node:stream/consumers'
import { afterAll, expect, test } from 'vitest'
import { routesKey } from '../registry/bundle-store/keys.ts'
import { type RouteList, routeList } from '../registry/route-list.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'
import { stepIn } from '../test/support/steps.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

/** A fetch app that keeps a list of its routes as Hono does; each answer is code that gives a Response. */
function listing(answers: Record<string, string>, config: object = {}) {
  const routes = Object.entries(answers).map(([key, code]) => {
    const [method = '', path = ''] = key.split(' ')
    return `{ method: ${JSON.stringify(method)}, path: ${JSON.stringify(path)}, handler: async (c) => ${code} }`
  })
  return {
    'index.js': `const asked = []
      const routes = [${routes.join(',\n')}, { method: 'ALL', path: '/*', handler: (c, next) => next() }]
      export default { routes, fetch: async (request) => {
        const { pathname } = new URL(request.url)
        const found = routes.find(({ method, path }) => method === request.method && path === pathname)
        return found ? found.handler({ request }) : new Response('nothing here', { status: 404 })
      } }`,
    'package.json': { type: 'module' },
    'atelier.config.json': config,
  }
}

const page = "new Response('hello')"
const routesOnly = (routes: object | false) => ({ deployments: { healthCheck: { timeoutSec: 3, routes } } })

async function deploy(answers: Record<string, string>, config: object = {}): Promise<Built> {
  return worker.deploy(await worker.createApp(), listing(answers, config))
}

async function routesOf({ manifest, deployment }: Built): Promise<RouteList> {
  const key = routesKey({ app: deployment.appId, version: deployment.version, build: manifest?.build ?? '' })
  return routeList.parse(JSON.parse(await text(await worker.deps.store.get(key))))
}

test('what a running app says of its routes is kept, and those that a GET is known for are asked', async () => {
  const built = await deploy({
    'GET /': page,
    'GET /a': page,
    'GET /away': 'new Response(null, { status: 302, headers: { location: "/" } })',
    'GET /closed': 'new Response("no", { status: 401 })',
    'GET /posts/:id{[0-9]{1,3}}': 'Promise.reject(new Error("asked without an id"))',
    'POST /posts': 'Promise.reject(new Error("asked to write"))',
    'ALL /all': 'Promise.reject(new Error("asked for what may be anything"))',
    'GET /cron/mail': 'Promise.reject(new Error("asked to send mail"))',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(stepIn(built.log, 'Routes')).toMatch(/^-----> Routes {6}8 API +\d/)
  expect(stepIn(built.log, 'Verifying')).toMatch(/GET \/ → 200, 4 of 8 routes below 500 +\d/)
  const { routes, read_from } = await routesOf(built)
  expect(read_from).toBe('app')
  expect(routes.map(({ path, methods }) => `${methods?.join() ?? 'any'} ${path}`)).toEqual([
    ...['GET /', 'GET /a', 'any /all', 'GET /away', 'GET /closed', 'GET /cron/mail', 'POST /posts', 'GET /posts/:id'],
  ])
  expect(built.manifest?.routes.api).toContain('/posts/:id')
})

test('a route that fails fails the deploy, with its name, its status and the last words of the app', async () => {
  const app = await worker.createApp()
  const live = await worker.deploy(app, listing({ 'GET /': page, 'GET /report': page }))
  expect(live.deployment.state).toBe('live')
  const broken = await worker.deploy(
    app,
    listing({ 'GET /': page, 'GET /report': 'Promise.reject(new Error("no such table: reports"))' }),
  )
  expect(broken.deployment).toMatchObject({ state: 'failed', errorCode: 'ROUTE_UNHEALTHY' })
  expect(broken.deployment.stateReason).toMatch(
    /^GET \/report answered 500 \(Internal Server Error\); a route answers below 500; .*healthCheck\.routes\.except/,
  )
  expect(broken.log.join('\n')).toContain('Error: no such table: reports')
  expect((await worker.read(live.deployment)).deployment.state).toBe('live')
})

test('a route that fails over an empty /data is told and does not count, unless the config lists it', async () => {
  const answers = { 'GET /': page, 'GET /log': 'Promise.reject(new Error("no such file: /data/log"))' }
  const built = await deploy(answers, { data: true })
  expect(built.deployment).toMatchObject({ state: 'live', stateReason: null })
  expect(built.log.join('\n')).toMatch(
    /GET \/log answered 500 \(Internal Server Error\); it does not count, for \/data is empty here/,
  )
  expect(stepIn(built.log, 'Verifying')).toMatch(/1 of 2 routes below 500/)

  const listed = await deploy(answers, { data: true, ...routesOnly({ paths: ['/log'] }) })
  expect(listed.deployment).toMatchObject({ state: 'failed', errorCode: 'ROUTE_UNHEALTHY' })
  const over = await deploy({ ...answers, 'GET /end': 'process.exit(3)' }, { data: true })
  expect(over.deployment).toMatchObject({ state: 'failed', errorCode: 'APP_CRASHED' })
})

test.each<[string, object | false]>([
  ['left out by name', { except: ['/report'] }],
  ['left out by a pattern', { except: ['/re*'] }],
  ['not asked, with a sample of none', { sample: 0 }],
  ['not asked, with all of it switched off', false],
])('a route that cannot answer here is %s', async (_, routes) => {
  const built = await deploy({ 'GET /': page, 'GET /report': 'new Response("", { status: 503 })' }, routesOnly(routes))
  expect(built.deployment.stateReason).toBeNull()
  expect(stepIn(built.log, 'Verifying')).toMatch(/GET \/ → 200 +\d/)
})

test('a route that tells what the app waits for may answer 503, unless the config lists it or it fails in another way', async () => {
  const busy = 'new Response("no cache yet", { status: 503 })'
  const answers = { 'GET /': page, 'GET /readyz': busy, 'GET /api/health': busy }
  const built = await deploy(answers)
  expect(built.deployment.stateReason).toBeNull()
  expect(built.log.join('\n')).toContain(
    'GET /readyz answered 503; it does not count, for it tells what the app waits for',
  )
  expect(stepIn(built.log, 'Verifying')).toMatch(/GET \/ → 200, 1 of 3 routes below 500/)
  const listed = await deploy(answers, routesOnly({ paths: ['/readyz'] }))
  expect(listed.deployment.stateReason).toMatch(/^GET \/readyz answered 503/)
  const broken = await deploy({ ...answers, 'GET /readyz': 'new Response("", { status: 500 })' })
  expect(broken.deployment.stateReason).toMatch(/^GET \/readyz answered 500/)
  const other = await deploy({ ...answers, 'GET /report': busy })
  expect(other.deployment.stateReason).toMatch(/^GET \/report answered 503/)
})

test('a route that fails once and then answers is well', async () => {
  const flaky =
    '(globalThis.count = (globalThis.count ?? 0) + 1) === 1 ? new Response("", { status: 500 }) : new Response("")'
  const built = await deploy({ 'GET /': page, 'GET /flaky': flaky })
  expect(built.deployment.stateReason).toBeNull()
})

test('listed paths must be there, and are asked whatever they are called', async () => {
  const answers = { 'GET /': page, 'GET /cron/now': page }
  const good = await deploy(answers, routesOnly({ paths: ['/cron/now?dry=1'] }))
  expect(good.deployment.stateReason).toBeNull()
  expect(stepIn(good.log, 'Verifying')).toMatch(/GET \/ → 200, 1 listed path there +\d/)
  const bad = await deploy(answers, routesOnly({ paths: ['/pricing', '/cron/now'] }))
  expect(bad.deployment).toMatchObject({ state: 'failed', errorCode: 'ROUTE_UNHEALTHY' })
  expect(bad.deployment.stateReason).toMatch(
    /^GET \/pricing answered 404; deployments\.healthCheck\.routes\.paths lists it/,
  )
})

test('a listed path of a site must have a file', async () => {
  const files = { 'index.html': 'x', 'about/index.html': 'x', 'old.html': 'x', _redirects: '/moved /about/ 301' }
  const paths = ['/about/', '/about', '/old', '/old.html', '/moved', '/?a=1']
  const app = await worker.createApp()
  const good = await worker.deploy(app, { ...files, 'atelier.config.json': routesOnly({ paths }) })
  expect(good.deployment.stateReason).toBeNull()
  expect(stepIn(good.log, 'Verifying')).toContain('3 files, index.html and 6 listed paths are there')
  const bad = await worker.deploy(app, { ...files, 'atelier.config.json': routesOnly({ paths: ['/gone', '/about'] }) })
  expect(bad.deployment).toMatchObject({ state: 'failed', errorCode: 'ROUTE_UNHEALTHY' })
  expect(bad.deployment.stateReason).toMatch(/^there is no file for \/gone;/)
})

test('routes that hang or never end are told and hold nobody up', async () => {
  const built = await deploy(
    {
      'GET /': page,
      'GET /hangs': 'new Promise(() => {})',
      'GET /endless':
        'new Response(new ReadableStream({ pull: (c) => new Promise((r) => setTimeout(r, 1)).then(() => c.enqueue(new Uint8Array(9999))) }))',
      'GET /silent': 'new Response(new ReadableStream({}))',
    },
    routesOnly({}),
  )
  expect(built.deployment.stateReason).toBeNull()
  for (const path of ['/hangs', '/silent'])
    expect(built.log).toContainEqual(expect.stringMatching(`GET ${path}: no answer within 3 s`))
  expect(stepIn(built.log, 'Verifying')).toContain('GET / → 200, 2 of 4 routes below 500')
})

test('no time that an app may take has to be a whole number of milliseconds', async () => {
  const built = await deploy(
    { 'GET /': page, 'GET /a': page },
    { deployments: { healthCheck: { timeoutSec: 9.0005 } } },
  )
  expect(built.deployment.stateReason).toBeNull()
})

test('a page or listed path that gives no answer twice fails the deploy', async () => {
  const built = await deploy(
    { 'GET /': page, 'GET /hangs': 'new Promise(() => {})' },
    routesOnly({ paths: ['/hangs'] }),
  )
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'ROUTE_UNHEALTHY' })
  expect(built.deployment.stateReason).toMatch(/^GET \/hangs: no answer within 3 s; .*paths lists it/)
})

test('over which of two requests an app has ended nobody can tell: both are named', async () => {
  // Each waits until the other is there as well.
  const both = `new Promise(() => { globalThis.there = (globalThis.there ?? 0) + 1; if (there === 2) process.exit(3) })`
  const built = await deploy({ 'GET /': page, 'GET /a': both, 'GET /b': both }, { deployments: {} })
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'APP_CRASHED' })
  expect(built.deployment.stateReason).toMatch(/^GET \/a, GET \/b: /)
})

test.each([
  ['has larger headers than anybody takes', 'new Response("", { headers: { a: "x".repeat(9e6) } })', 'ROUTE_UNHEALTHY'],
  ['ends the app', 'process.exit(3)', 'APP_CRASHED'],
])('a route that %s fails the deploy and is named', async (_, code, errorCode) => {
  const built = await deploy({ 'GET /': page, 'GET /odd': code }, routesOnly({}))
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode })
  expect(built.deployment.stateReason).toMatch(/^GET \/odd/)
})

test.each([
  ['throws', 'get routes() { throw new Error("mine") }', 'known to the app alone (fetch)'],
  [
    'has no end',
    'routes: new Proxy([], { get: (t, k) => k === "length" ? 1e9 : k === "slice" ? () => { for (;;); } : t[k] })',
    null,
  ],
  [
    'lies',
    'routes: [{ method: "GET", path: "/a\\nLive  http://evil" }, 7, null, { method: {}, path: "/b" }, { method: "GET", path: "../c" }]',
    '1 API',
  ],
  [
    'is very long',
    'routes: Array.from({ length: 30_000 }, (_, n) => ({ method: "POST", path: "/" + n }))',
    '10000 API',
  ],
])('a list of routes that %s harms nobody', async (_, routes, said) => {
  const code = `export default { ${routes}, fetch: () => new Response('hello') }`
  const built = await worker.deploy(await worker.createApp(), {
    ...{ 'index.js': code, 'package.json': { type: 'module' }, 'atelier.config.json': routesOnly({}) },
  })
  if (said === null) expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'APP_UNHEALTHY' })
  else {
    expect(built.deployment.stateReason).toBeNull()
    expect(built.log.filter((line) => line.startsWith(`-----> Routes      ${said}`))).toHaveLength(1)
  }
  expect(built.log.filter((line) => /^-----> Live/.test(line))).toHaveLength(said === null ? 0 : 1)
})
