import { expect, test } from 'vitest'
import type { Route } from '../registry/routes.ts'
import { RouteTable } from './route-table.ts'

const route = (given: Partial<Route>): Route => ({
  ...{ id: 'r1', appId: 'hello', environment: 'production', branch: 'main', label: 'hello', generation: 1, weight: 0 },
  ...{ live: null, candidate: null },
  ...given,
})
const table = () => new RouteTable({ domain: 'example.com', appsDomain: 'apps.example.com' })
const generationAt = (routes: RouteTable, host: string) => {
  const found = routes.find(host)
  return found && 'route' in found ? found.route.generation : null
}

test('hosts lead to routes and to the parts of the platform, and nowhere else', () => {
  const routes = table()
  routes.replace([route({})])
  expect(routes.find('hello.apps.example.com')).toMatchObject({ route: { id: 'r1' } })
  expect(routes.find('git.example.com')).toEqual({ reserved: 'git' })
  for (const host of [
    'hello',
    'hello.example.com',
    'x.hello.apps.example.com',
    'git.apps.example.com',
    'example.com',
    '',
  ]) {
    expect(routes.find(host)).toBeNull()
  }
})

test('a generation only goes up', () => {
  const routes = table()
  expect(routes.replace([route({ generation: 5 })])).toBe(true)
  expect(routes.replace([route({ generation: 4 })])).toBe(false)
  expect(generationAt(routes, 'hello.apps.example.com')).toBe(5)
  expect(routes.replace([route({ generation: 6 })])).toBe(true)
  expect(generationAt(routes, 'hello.apps.example.com')).toBe(6)
})

test('a route that is gone is gone, and one made anew under its name begins anew', () => {
  const routes = table()
  routes.replace([route({ generation: 5 })])
  expect(routes.replace([])).toBe(true)
  expect(routes.find('hello.apps.example.com')).toBeNull()
  routes.replace([route({ generation: 5 })])
  routes.replace([route({ id: 'r2', generation: 0 })])
  expect(routes.find('hello.apps.example.com')).toMatchObject({ route: { id: 'r2' } })
})

test('no app takes the address of a part of the platform', () => {
  const routes = new RouteTable({ domain: 'example.com', appsDomain: 'example.com' })
  routes.replace([route({ label: 'git' })])
  expect(routes.find('git.example.com')).toEqual({ reserved: 'git' })
})
