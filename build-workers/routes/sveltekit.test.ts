import { expect, test } from 'vitest'
import { filesOf } from './files.ts'
import { listRoutes } from './scan.ts'
import { scanSvelteKit } from './sveltekit.ts'

const listed = (files: Record<string, string>) =>
  listRoutes(scanSvelteKit(filesOf(files)), { framework: 'sveltekit', pages: [], ofApp: null })

const app = {
  'src/routes/+layout.svelte': '<slot />',
  'src/routes/+page.svelte': '<svelte:head><title>Home</title></svelte:head>',
  'src/routes/(shop)/+layout.ts': 'export const prerender = true\n',
  'src/routes/(shop)/cart/+page@.svelte': '',
  'src/routes/(shop)/[[lang=lang]]/live/+page.svelte': '',
  'src/routes/(shop)/[[lang=lang]]/live/+page.ts': "export const prerender = 'auto'\n",
  'src/routes/blog/[slug]/+page.svelte': '',
  'src/routes/blog/[slug]/+page.server.ts':
    'export const prerender = true\nexport const entries: EntryGenerator = () => []\n',
  'src/routes/docs/[...rest]/+page.svelte': '',
  'src/routes/api/word/+server.ts': 'export const GET = () => {}\nexport async function POST() {}\n',
  'src/routes/api/all/+server.js': 'export const fallback = () => {}\nexport const GET = () => {}\n',
  'src/routes/smile-[x+21]/+page.svelte': '',
  'src/routes/Header.svelte': '',
  '.svelte-kit/output/prerendered/pages/blog/one.html': '',
  '.svelte-kit/output/prerendered/pages/cart.html': '',
  '.svelte-kit/output/prerendered/pages/fr/live.html': '',
}

test('pages and endpoints are found in src/routes, and what was prerendered', () => {
  const { routes, static: made } = listed(app)
  expect(
    routes.map(({ kind, path, methods, rendering }) => [kind, path, methods?.join(' ') ?? null, rendering]),
  ).toEqual([
    ['page', '/', 'GET', 'dynamic'],
    ['page', '/:lang?/live', 'GET', 'static'],
    ['api', '/api/all', null, 'dynamic'],
    ['api', '/api/word', 'GET POST', 'dynamic'],
    ['page', '/blog/:slug', 'GET', 'static'],
    ['page', '/cart', 'GET', 'static'],
    ['page', '/docs/*rest', 'GET', 'dynamic'],
    ['page', '/smile-!', 'GET', 'dynamic'],
  ])
  expect(made).toEqual([
    { path: '/blog/one', route: '/blog/:slug' },
    { path: '/cart', route: '/cart' },
    { path: '/fr/live', route: '/:lang?/live' },
  ])
  expect(routes.find(({ path }) => path === '/blog/:slug')?.marks).toEqual(['static-params'])
  expect(routes[0]).toMatchObject({ title: 'Home', marks: ['metadata'], source: 'src/routes/+page.svelte' })
})

test('of routes in another folder it says that it knows nothing', () => {
  const { routes, read_from, notes } = listed({ 'src/views/+page.svelte': '' })
  expect({ routes, read_from }).toEqual({ routes: [], read_from: 'nothing' })
  expect(notes).toEqual(['there is no src/routes: of another kit.files.routes nothing is known'])
})
