import { expect, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { routesOf } from './isolate-routes.ts'

const handler = (_context: unknown) => 0
const middleware = (_context: unknown, _next: unknown) => 0

test('the lists of Hono, Elysia and itty-router are read; other apps have none', () => {
  const mounted = Object.assign((_context: unknown, _next: unknown) => 0, { __COMPOSED_HANDLER: handler })
  const hono = {
    routes: [
      { method: 'ALL', path: '/*', handler: middleware, basePath: '/' },
      { method: 'GET', path: '/', handler },
      { method: 'POST', path: '/api/x', handler: mounted },
    ],
  }
  expect(routesOf(hono)).toEqual([
    ['ALL', '/*', true],
    ['GET', '/', false],
    ['POST', '/api/x', false],
  ])
  expect(routesOf({ routes: [['GET', /^\/a$/, [handler], '/a']] })).toEqual([['GET', '/a', false]])
  for (const app of [null, undefined, 7, handler, {}, { routes: 'all' }]) expect(routesOf(app)).toBeNull()
})

test('what is no route is left out, and a list has its bounds', () => {
  const odd = [null, 7, {}, [], { method: 'GET' }, { method: {}, path: '/' }, { method: 'GET', path: 'x'.repeat(301) }]
  expect(routesOf({ routes: odd })).toEqual([])
  const many = Array.from({ length: 12_000 }, () => ({ method: 'x'.repeat(50), path: '/' }))
  const read = routesOf({ routes: many })
  expect(read).toHaveLength(10_000)
  expect(read?.[0]).toEqual(['x'.repeat(20), '/', false])
})

test('an isolate says what its app’s routes are as often as it is asked, and a server that it knows none', async () => {
  await using home = await ThrowAwayHome.make()
  const app = `const routes = Array.from({ length: 250 }, (_, n) => ({ method: 'GET', path: '/' + n, handler: () => {} }))
    export default { routes, fetch: () => new Response('x') }`
  const files = { 'bundle.js': app, 'package.json': '{"type":"module"}' }
  const isolate = await home.isolate({ kind: 'fetch', entry: 'bundle.js', files })
  await isolate.ready(60_000)
  for (let time = 0; time < 2; time++) {
    const routes = await isolate.routes(60_000)
    expect(routes).toHaveLength(250)
    expect(routes?.at(-1)).toEqual(['GET', '/249', false])
  }
  await isolate.stop(0)
  expect(await isolate.routes(60_000)).toBeNull()

  const server = "require('http').createServer((q, s) => s.end()).listen(3000)"
  const plain = await home.isolate({ kind: 'server', entry: 'server.js', files: { 'server.js': server } })
  await plain.ready(60_000)
  expect(await plain.routes(60_000)).toBeNull()
})
