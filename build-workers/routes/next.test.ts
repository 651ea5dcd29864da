import { expect, test } from 'vitest'
import { filesOf } from './files.ts'
import { scanNext } from './next.ts'
import { listRoutes } from './scan.ts'

const json = JSON.stringify

// What a build of Next.js 16 with cacheComponents has left, as far as it is read.
const built = {
  '.next/routes-manifest.json': json({ basePath: '', dynamicRoutes: [{ page: '/blog/[slug]' }] }),
  '.next/app-path-routes-manifest.json': json({
    '/(shop)/cart/page': '/cart',
    '/_global-error/page': '/_global-error',
    '/_not-found/page': '/_not-found',
    '/api/hello/route': '/api/hello',
    '/blog/[slug]/page': '/blog/[slug]',
    '/docs/[[...path]]/page': '/docs/[[...path]]',
    '/dyn/page': '/dyn',
    '/feed/@modal/(.)photo/[id]/page': '/feed/(.)photo/[id]',
    '/page': '/',
    '/robots.txt/route': '/robots.txt',
  }),
  '.next/server/pages-manifest.json': json({
    '/_app': 'pages/_app.js',
    '/404': 'pages/404.html',
    '/api/old': 'pages/api/old.js',
    '/old': 'pages/old.html',
    '/live': 'pages/live.js',
  }),
  '.next/prerender-manifest.json': json({
    version: 4,
    routes: {
      '/': { srcRoute: '/', renderingMode: 'PARTIALLY_STATIC', compute: 'static', initialRevalidateSeconds: false },
      '/_not-found': { srcRoute: '/_not-found', initialRevalidateSeconds: false },
      '/blog/one': { srcRoute: '/blog/[slug]', initialRevalidateSeconds: 900 },
      '/blog/two': { srcRoute: '/blog/[slug]', initialRevalidateSeconds: 60 },
      '/dyn': { srcRoute: '/dyn', renderingMode: 'PARTIALLY_STATIC', compute: 'resuming', experimentalPPR: true },
      '/robots.txt': { srcRoute: '/robots.txt', initialRevalidateSeconds: false },
    },
    dynamicRoutes: {},
  }),
  'app/layout.tsx': "import './x.css'\nexport const metadata = { description: 'All', title: 'Shop' }\n",
  'app/page.tsx': 'export default function Page() {}\n',
  'app/(shop)/cart/page.tsx': "'use cache: remote'\nexport default async function Page() {}\n",
  'app/blog/[slug]/page.tsx': [
    '// export const metadata = {}',
    'export async function generateStaticParams() { return [] }',
    'export async function generateMetadata() { return {} }',
  ].join('\n'),
  'app/dyn/page.tsx': "export const metadata: Metadata = { title: 'Dyn' }\nexport default () => null\n",
  'app/api/hello/route.ts': 'export async function GET() {}\nconst write = () => {}\nexport { write as POST }\n',
  'app/robots.ts': 'export default () => ({})\n',
  'pages/old.tsx': 'export default () => null\n',
}

const listed = (files: Record<string, string>, dist = '.next') =>
  listRoutes(scanNext(filesOf(files), dist), { framework: 'next', pages: [], ofApp: null })

test('pages, handlers and files of both routers are what the build says, with what their files say of themselves', () => {
  const { routes, read_from, notes } = listed(built)
  const shown = routes.map(({ path, kind, methods, rendering, marks, source }) => [
    ...[kind, path, methods?.join(' ') ?? null, rendering, marks.join(' '), source],
  ])
  expect(shown).toEqual([
    ['page', '/', 'GET', 'static', 'metadata', 'app/page.tsx'],
    ['api', '/api/hello', 'GET POST', 'dynamic', '', 'app/api/hello/route.ts'],
    ['api', '/api/old', null, 'dynamic', '', null],
    [
      'page',
      '/blog/:slug',
      'GET',
      'revalidated',
      'metadata static-params generated-metadata',
      'app/blog/[slug]/page.tsx',
    ],
    ['page', '/cart', 'GET', 'dynamic', 'metadata use-cache', 'app/(shop)/cart/page.tsx'],
    ['page', '/docs/*path?', 'GET', 'dynamic', 'metadata', null],
    ['page', '/dyn', 'GET', 'partial', 'metadata', 'app/dyn/page.tsx'],
    ['page', '/live', 'GET', 'dynamic', '', null],
    ['page', '/old', 'GET', 'static', '', 'pages/old.tsx'],
    ['file', '/robots.txt', 'GET', 'static', '', null],
  ])
  expect(routes.find(({ path }) => path === '/blog/:slug')?.revalidate_sec).toBe(60)
  expect(routes.find(({ path }) => path === '/dyn')?.title).toBe('Dyn')
  expect({ read_from, notes }).toEqual({ read_from: 'build', notes: [] })
})

test('paths that were made ahead are named with their route', () => {
  expect(listed(built).static.map(({ path, route }) => `${path} of ${route}`)).toEqual([
    '/ of /',
    '/blog/one of /blog/:slug',
    '/blog/two of /blog/:slug',
    '/dyn of /dyn',
    '/robots.txt of /robots.txt',
  ])
})

test('a basePath is in front of all of them, and the folder of the build is found', () => {
  const moved = Object.fromEntries(
    Object.entries(built).map(([path, text]) => [path.replace('.next/', 'out.d/'), text]),
  )
  const { routes, static: made } = listed({ ...moved, 'out.d/routes-manifest.json': json({ basePath: '/docs' }) })
  expect(routes[0]?.path).toBe('/docs')
  expect(made.map(({ path }) => path)).toContain('/docs/blog/one')
})

test('manifests that are torn, or of another shape, are as good as none', () => {
  expect(listed({}).routes).toEqual([])
  const torn = { ...built, '.next/prerender-manifest.json': '{"routes":', '.next/server/pages-manifest.json': '[1]' }
  const { routes } = listed({ ...torn, '.next/app-path-routes-manifest.json': json({ '/page': '/', '/x/page': 'x' }) })
  expect(routes.map(({ path, rendering }) => [path, rendering])).toEqual([['/', 'dynamic']])
})
