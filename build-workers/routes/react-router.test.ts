import { expect, test } from 'vitest'
import { filesOf } from './files.ts'
import { scanReactRouter } from './react-router.ts'
import { listRoutes } from './scan.ts'

const route = (id: string, parentId: string, rest: object) => ({
  ...{ id, parentId, hasLoader: false, hasAction: false, hasDefaultExport: true },
  ...rest,
})

const routes = {
  root: { id: 'root', path: '', hasLoader: false, hasAction: false, hasDefaultExport: true },
  'routes/home': route('routes/home', 'root', { index: true }),
  'routes/about': route('routes/about', 'root', { path: 'about', hasLoader: true }),
  'routes/frame': route('routes/frame', 'root', {}),
  'routes/post': route('routes/post', 'routes/frame', { path: 'post/:slug' }),
  'routes/edit': route('routes/edit', 'routes/post', { path: 'edit?' }),
  'routes/word': route('routes/word', 'root', { path: 'api/word', hasLoader: true, hasDefaultExport: false }),
  'routes/send': route('routes/send', 'root', { path: 'api/send', hasAction: true, hasDefaultExport: undefined }),
  'routes/none': route('routes/none', 'root', { path: '*' }),
}

const listed = (built: object, files: Record<string, string> = {}) => {
  const manifest = `window.__reactRouterManifest=${JSON.stringify({ entry: {}, routes: built, version: 'e4' })};`
  const found = scanReactRouter(filesOf({ 'build/client/assets/manifest-e4454579.js': manifest, ...files }))
  return listRoutes(found, { framework: 'react-router', pages: [], ofApp: null })
}

test('routes are what the manifest for browsers says; one without a component is an API', () => {
  const list = listed(routes, {
    'app/routes/about.tsx': "export const meta = () => [{ title: 'About' }]\nexport default function About() {}\n",
    'app/routes/send.ts': 'export const action = () => {}\n',
  })
  expect(list.routes.map(({ kind, path, methods }) => [kind, path, methods?.join(' ')])).toEqual([
    ['page', '/', 'GET'],
    ['page', '/*', 'GET'],
    ['page', '/about', 'GET'],
    ['api', '/api/send', 'POST PUT PATCH DELETE'],
    ['api', '/api/word', 'GET'],
    ['page', '/post/:slug', 'GET'],
    ['page', '/post/:slug/edit', 'GET'],
  ])
  expect(list.routes[2]).toMatchObject({ title: 'About', marks: ['metadata'], source: 'app/routes/about.tsx' })
})

test('parents that go round in circles, and files outside, lead nowhere', () => {
  const round = {
    a: route('a', 'b', { path: 'a' }),
    b: route('b', 'a', { path: 'b' }),
    '../x': route('../x', 'none', { path: 'x' }),
  }
  const { routes: found } = listed(round, { 'x.tsx': 'export default 1' })
  expect(found.map(({ path }) => path.length)).toEqual([60, 60, 2])
  expect(found.at(-1)).toMatchObject({ path: '/x', source: null })
})

test('a build without a manifest is said to have none', () => {
  const found = scanReactRouter(filesOf({ 'build/client/assets/manifest-1.js': 'alert(1)' }))
  expect(found.notes).toEqual(['there is no manifest of routes in build/client/assets'])
})
