import { expect, test } from 'vitest'
import type { ListedRoute } from '../registry/route-list.ts'
import type { Page } from './pack-pages.ts'
import { sampleRoutes } from './route-sample.ts'

const route = (path: string, rest: Partial<ListedRoute> = {}): ListedRoute => ({
  ...{
    path,
    kind: 'page',
    methods: ['GET'],
    source: null,
    rendering: 'dynamic',
    revalidate_sec: null,
    marks: [],
    title: null,
  },
  ...rest,
})
const numbered = (count: number, prefix: string, rest: Partial<ListedRoute> = {}) =>
  Array.from({ length: count }, (_, number) => route(`/${prefix}${number}`, rest))

function sampled(
  routes: ListedRoute[],
  {
    made = [],
    files = [],
    ...settings
  }: {
    made?: [path: string, route: string][]
    files?: string[]
    sample?: number
    paths?: string[]
    except?: string[]
  } = {},
) {
  return sampleRoutes(
    { routes, static: made.map(([path, of]) => ({ path, route: of })) },
    {
      settings: { sample: 12, paths: [], except: [], ...settings },
      health: '/',
      published: files.map((path) => ({ path }) as Page),
      isAnswered: () => false,
    },
  )
}
const pathsOf = (sample: ReturnType<typeof sampled>) => sample.picked.map(({ path }) => path)

test('pages are asked, and APIs only where they are known to answer a GET', () => {
  const routes = [
    route('/'),
    route('/about'),
    route('/api/read', { kind: 'api' }),
    route('/api/write', { kind: 'api', methods: ['POST'] }),
    route('/api/any', { kind: 'api', methods: null }),
    route('/robots.txt', { kind: 'file' }),
  ]
  expect(sampled(routes)).toEqual({
    ...{ listed: [], listedInAll: 0, known: 5, isHealthKnown: true },
    picked: [
      { path: '/about', kind: 'page' },
      { path: '/api/read', kind: 'api' },
    ],
  })
})

test('a route with parameters is asked with those that the build knew, or not at all', () => {
  const routes = [route('/blog/:slug'), route('/users/:id'), route('/docs/*rest?')]
  expect(
    pathsOf(
      sampled(routes, {
        made: [
          ['/blog/été & co', '/blog/:slug'],
          ['/blog/two', '/blog/:slug'],
        ],
      }),
    ),
  ).toEqual(['/blog/two'])
  expect(pathsOf(sampled(routes, { made: [['/blog/été & co', '/blog/:slug']] }))).toEqual([
    '/blog/%C3%A9t%C3%A9%20%26%20co',
  ])
})

test('of many routes it is a few of each kind, from the whole list, and first those that the build has not made', () => {
  const routes = [
    ...numbered(50, 'page'),
    ...numbered(50, 'api', { kind: 'api' }),
    ...numbered(50, 'made', { rendering: 'static' }),
  ]
  const picked = pathsOf(sampled(routes))
  expect(picked).toEqual([
    ...['/page0', '/page6', '/page12', '/page18', '/page25', '/page31', '/page37', '/page43'],
    ...['/api0', '/api12', '/api25', '/api37'],
  ])
  expect(pathsOf(sampled(routes, { sample: 2 }))).toEqual(['/page0', '/page25'])
  const few = [
    ...numbered(2, 'page'),
    ...numbered(2, 'api', { kind: 'api' }),
    ...numbered(50, 'made', { rendering: 'static' }),
  ]
  expect(pathsOf(sampled(few, { sample: 6 }))).toEqual(['/page0', '/page1', '/api0', '/api1', '/made0', '/made25'])
  expect(pathsOf(sampled(few, { sample: 0 }))).toEqual([])
})

test('what by its name does something is not asked, nor what the config leaves out or a file answers', () => {
  const acting = [
    '/cron/mail',
    '/api/send-mail',
    '/logout',
    '/auth/sign-out',
    '/webhooks/stripe',
    '/api/job.run',
    '/reset',
    ...['/api/sendMail', '/deleteUser', '/account/resetPassword', '/api/runJob'],
    ...['/cleanup', '/db/backup', '/api/dbCleanUp', '/tools/rollback'],
  ]
  const plain = ['/getting-started', '/sendersList', '/jobless', '/senders', '/blog/cronology']
  expect(pathsOf(sampled([...acting, ...plain].map((path) => route(path))))).toEqual(plain)
  const begun = ['/register', '/upload', '/posts/create']
  expect(pathsOf(sampled(begun.map((path) => route(path))))).toEqual(begun)
  expect(pathsOf(sampled(begun.map((path) => route(path, { kind: 'api' }))))).toEqual([])
  const routes = ['/a', '/admin/x', '/b/c', '/files/one', '/two'].map((path) => route(path))
  expect(
    pathsOf(sampled(routes, { except: ['/admin/*', '/:any/c'], files: ['files/one/index.html', 'two.html'] })),
  ).toEqual(['/a'])
})

test('what is there to be shown of a failure, or to fail, is not asked', () => {
  const failing = ['/404', '/500', '/en/500', '/error', '/auth/error', '/api/sentry-example-api', '/debug-sentry']
  const plain = ['/sentry-example-page', '/terrors', '/blog/1500', '/errorless']
  expect(pathsOf(sampled([...failing, ...plain].map((path) => route(path))))).toEqual(plain)
})

test('listed paths are asked of the app unless a file answers', () => {
  const { listed, listedInAll } = sampled([route('/a')], {
    paths: ['/a?x=1', '/logo.svg?v=2', '/cron'],
    files: ['logo.svg'],
  })
  expect({ listed, listedInAll }).toEqual({ listed: ['/a?x=1', '/cron'], listedInAll: 3 })
})
