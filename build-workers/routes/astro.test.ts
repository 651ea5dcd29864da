import { expect, test } from 'vitest'
import { scanAstro } from './astro.ts'
import { filesOf } from './files.ts'
import { listRoutes } from './scan.ts'

const app = {
  'astro.config.mjs': "export default defineConfig({ adapter: node({ mode: 'standalone' }) })\n",
  'src/pages/index.astro': '---\n---\n<head><title>Home</title></head>',
  'src/pages/about.md': '# About',
  'src/pages/live.astro': '---\nexport const prerender = false\n---\n',
  'src/pages/blog/[slug].astro': '---\nexport async function getStaticPaths() { return [] }\n---\n',
  'src/pages/api/word.ts':
    'export const prerender = false\nexport const GET: APIRoute = () => {}\nexport const DELETE = 1\n',
  'src/pages/rss.xml.ts': 'export const GET = () => {}\n',
  'src/pages/_draft.astro': '',
  'src/pages/_parts/head.astro': '',
  'src/pages/env.d.ts': '',
}

const listed = (files: Record<string, string>) => {
  const scan = scanAstro(filesOf(files))
  const list = listRoutes(scan, { framework: 'astro', pages: [], ofApp: null })
  return {
    ...list,
    shown: list.routes.map(({ kind, path, methods, rendering }) => [kind, path, methods?.join(' '), rendering]),
  }
}

test('pages and endpoints are found in src/pages, and which of them are made ahead', () => {
  const { shown, routes } = listed(app)
  expect(shown).toEqual([
    ['page', '/', 'GET', 'static'],
    ['page', '/about', 'GET', 'static'],
    ['api', '/api/word', 'GET DELETE', 'dynamic'],
    ['page', '/blog/:slug', 'GET', 'static'],
    ['page', '/live', 'GET', 'dynamic'],
    ['file', '/rss.xml', 'GET', 'static'],
  ])
  expect(routes.find(({ path }) => path === '/blog/:slug')?.marks).toEqual(['static-params'])
})

test("with output: 'server' a page says so when it is made ahead; a base is in front", () => {
  const config = "export default defineConfig({\n  base: '/docs',\n  output: 'server',\n})\n"
  const { shown } = listed({
    ...app,
    'astro.config.mjs': config,
    'src/pages/old.astro': '---\nexport const prerender = true\n---',
  })
  expect(shown).toEqual(
    expect.arrayContaining([
      ['page', '/docs', 'GET', 'dynamic'],
      ['page', '/docs/old', 'GET', 'static'],
      ['api', '/docs/rss.xml', 'GET', 'dynamic'],
    ]),
  )
})
