import { expect, test } from 'vitest'
import type { EdgeRoute } from '../edge-messages.ts'
import { RouteTable } from './route-table.ts'

const route = (given: Partial<EdgeRoute>): EdgeRoute => ({
  ...{ id: 'r1', appId: 'hello', environment: 'production', branch: 'main', label: 'hello', generation: 1, weight: 0 },
  ...{ live: null, candidate: null, rollout: null },
  ...given,
})
const table = () => new RouteTable({ domain: 'example.com', appsDomain: 'apps.example.com' })

test('hosts lead to routes and to the parts of the platform, and nowhere else', () => {
  const routes = table()
  routes.apply({ changed: [route({})], gone: [] })
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

test('a change touches only the routes it names', () => {
  const routes = table()
  routes.apply({ changed: [route({}), route({ id: 'r2', label: 'other' })], gone: [] })
  routes.apply({ changed: [route({ generation: 2, weight: 5 })], gone: [] })
  expect(routes.find('hello.apps.example.com')).toMatchObject({ route: { generation: 2, weight: 5 } })
  expect(routes.find('other.apps.example.com')).toMatchObject({ route: { id: 'r2' } })
  routes.apply({ changed: [], gone: ['r1'] })
  expect(routes.find('hello.apps.example.com')).toBeNull()
  expect(routes.find('other.apps.example.com')).toMatchObject({ route: { id: 'r2' } })
})

test('a name goes from one route to another, and a route from one name to another', () => {
  const routes = table()
  routes.apply({ changed: [route({}), route({ id: 'r2', label: 'other' })], gone: [] })
  routes.apply({ changed: [route({ id: 'r2', label: 'hello' }), route({ label: 'moved' })], gone: [] })
  expect(routes.find('hello.apps.example.com')).toMatchObject({ route: { id: 'r2' } })
  expect(routes.find('moved.apps.example.com')).toMatchObject({ route: { id: 'r1' } })
  expect(routes.find('other.apps.example.com')).toBeNull()
  routes.apply({ changed: [route({ id: 'r3', label: 'hello' })], gone: ['r2'] })
  expect(routes.find('hello.apps.example.com')).toMatchObject({ route: { id: 'r3' } })
})

test('no app takes the address of a part of the platform', () => {
  const routes = new RouteTable({ domain: 'example.com', appsDomain: 'example.com' })
  routes.apply({ changed: [route({ label: 'git' })], gone: [] })
  expect(routes.find('git.example.com')).toEqual({ reserved: 'git' })
  routes.apply({ changed: [], gone: ['r1'] })
  expect(routes.find('git.example.com')).toEqual({ reserved: 'git' })
})
