import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { mostRoutes, routeList, summarizeRoutes } from '../../registry/route-list.ts'
import { packPages } from '../pack-pages.ts'
import type { Plan } from '../plan.ts'
import type { Workspace } from '../workspace.ts'
import { filesLeft } from './files.ts'
import { fromBrackets, RouteMatcher } from './route-path.ts'
import { type FoundRoute, nothingFound, RouteSet } from './route-set.ts'
import { describeRoutes, listRoutes, scanRoutes } from './scan.ts'
import { exportedNames, usesCache } from './source-marks.ts'

const root = mkdtempSync(join(tmpdir(), 'routes-'))
afterAll(() => rmSync(root, { recursive: true }))

function write(base: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, base, path)), { recursive: true })
    writeFileSync(join(root, base, path), text)
  }
  return join(root, base)
}

test('files that a build has left are listed without following a link, and odd ones are named on one line', () => {
  const outside = write('outside', { 'secret/+page.svelte': 'secret', 'loop/x': '' })
  const app = write('app', { 'src/routes/+page.svelte': 'one', 'src/routes/a/b/+page.svelte': 'two' })
  symlinkSync(join(outside, 'secret'), join(app, 'src/routes/linked'))
  symlinkSync('..', join(app, 'src/routes/a/up'))
  writeFileSync(join(app, 'src/routes/evil\nLive        a'), '')
  const files = filesLeft(root, 'app')
  expect(files.list('src/routes')).toEqual(['+page.svelte', 'a/b/+page.svelte'])
  expect([...files.notes]).toEqual([
    'passed over: src/routes/a/up',
    'passed over: src/routes/evil\\nLive        a',
    'passed over: src/routes/linked',
  ])
  expect(files.read('src/routes/linked/+page.svelte')).toBeNull()
  expect(files.read('src/routes/a/b/+page.svelte')).toBe('two')
  expect(files.list('none')).toEqual([])
})

test('a scan that cannot go on says so instead of ending the build', async () => {
  const plan = {
    framework: 'astro',
    reason: '',
    notes: [],
    transform: 'kit',
    kit: { tool: 'astro' },
  } as unknown as Plan
  const workspace = { app: root } as unknown as Workspace
  const { routes, notes } = scanRoutes(plan, { workspace, root: 'x'.repeat(300) })
  expect(routes).toEqual([])
  expect(notes).toEqual([expect.stringMatching(/^the routes could not be read: ENAMETOOLONG/)])
})

test('the pages of a site are its HTML files, with their titles, but not those for what there is not', async () => {
  write('site', {
    'index.html': '<!doctype html><title>\n Home </title>',
    'about/index.html': '<p>About</p>',
    'blog/one.html': '<title>One</title>',
    '404.html': '',
    'logo.svg': '<svg/>',
  })
  const pages = await packPages([{ root, from: 'site', below: '', skip: () => false }], { uid: null, maxFiles: 100 })
  const list = listRoutes(nothingFound, { framework: 'static', pages, ofApp: null })
  expect(list.routes.map(({ path, title, source }) => [path, title, source])).toEqual([
    ['/', 'Home', 'index.html'],
    ['/about', null, 'about/index.html'],
    ['/blog/one', 'One', 'blog/one.html'],
  ])
  expect(describeRoutes(list)).toBe('3 pages, static')
  expect(summarizeRoutes(list, { hasServer: false })).toEqual({
    ...{ pages: ['/', '/about', '/blog/one'], api: [], static: ['/', '/about', '/blog/one'] },
  })
})

test('a file that a route of the framework made belongs to it', async () => {
  write('made', { 'blog/one/index.html': '', 'extra.html': '' })
  const pages = await packPages([{ root, from: 'made', below: '', skip: () => false }], { uid: null, maxFiles: 100 })
  const routes: FoundRoute[] = [
    { path: '/blog/:slug', kind: 'page' },
    { path: '/api/:rest', kind: 'api', methods: ['POST'] },
  ]
  const list = listRoutes({ ...nothingFound, from: 'source', routes }, { framework: 'astro', pages, ofApp: null })
  expect(list.static).toEqual([
    { path: '/blog/one', route: '/blog/:slug' },
    { path: '/extra', route: '/extra' },
  ])
  expect(describeRoutes(list)).toBe('2 pages, 1 API, 2 static')
})

test('a route of the app’s own that a page was made for is static, for the edge answers with the file', async () => {
  write('prerendered', { 'index.html': '', 'posts/1.html': '' })
  const pages = await packPages([{ root, from: 'prerendered', below: '', skip: () => false }], {
    uid: null,
    maxFiles: 9,
  })
  const routes = ['/', '/live', '/posts/:id'].map((path): FoundRoute => ({ path, kind: 'api', rendering: 'dynamic' }))
  const list = listRoutes(nothingFound, { framework: 'hono', pages, ofApp: routes })
  expect(list.routes.map(({ path, rendering }) => `${path} ${rendering}`)).toEqual([
    ...['/ static', '/live dynamic', '/posts/:id dynamic'],
  ])
  expect(list.static.map(({ path }) => path)).toEqual(['/', '/posts/1'])
})

test('a list has its bounds: names that are no line of text are left out, and so are more than ten thousand', () => {
  const set = new RouteSet()
  for (let number = 0; number < mostRoutes + 5; number++) set.add({ path: `/${number}`, kind: 'page' })
  for (const path of ['/a\nLive', `/${'x'.repeat(2000)}`, 'no-slash', '/\u001b[31m']) set.add({ path, kind: 'page' })
  set.addMade([{ path: '/1\n', source: 'x.html', title: null }])
  const list = set.list('x', 'source')
  expect(routeList.parse(list).routes).toHaveLength(mostRoutes)
  expect(list.notes.at(-1)).toBe('5 more are left out: a list has 10000 at most')
  expect(list.notes[0]).toBe('left out: /a\\nLive')
  expect(list.notes.join('')).not.toMatch(/[\n\u001b]/)
})

test('what a program of its own answers is for it to know', () => {
  const list = listRoutes(nothingFound, { framework: 'express', pages: [], ofApp: null })
  expect(describeRoutes(list)).toBe('known to the app alone (express)')
  expect(list.read_from).toBe('nothing')
  expect(summarizeRoutes(list, { hasServer: true })).toEqual({ pages: [], api: ['/*'], static: [] })
})

test('of several routes the most particular one answers', () => {
  const routes = ['/blog/:slug', '/blog/new', '/:lang?/about', '/*rest', '/:a/:b', '/docs/*path?'].map((path) => ({
    path,
    kind: 'page',
  }))
  const matcher = new RouteMatcher(routes)
  const answers = (path: string) => matcher.match(path)?.path ?? null
  expect(answers('/blog/new')).toBe('/blog/new')
  expect(answers('/blog/one')).toBe('/blog/:slug')
  expect(answers('/about')).toBe('/:lang?/about')
  expect(answers('/fr/about')).toBe('/:lang?/about')
  expect(answers('/x/y')).toBe('/:a/:b')
  expect(answers('/docs')).toBe('/docs/*path?')
  expect(answers('/a/b/c')).toBe('/*rest')
  expect(answers('/')).toBeNull()
})

test('brackets of all frameworks come to one spelling', () => {
  const cases = [
    ['', '/'],
    ['blog/[slug]', '/blog/:slug'],
    ['(shop)/cart', '/cart'],
    ['[[lang=lang]]/x', '/:lang?/x'],
    ['[...all]', '/*all'],
    ['[[...all]]', '/*all?'],
    ['users-[group]/[id]', '/users-:group/:id'],
  ] as const
  for (const [written, path] of cases) expect(fromBrackets(written)).toBe(path)
})

test('exports and "use cache" are read from code, not from its comments, and in a time that its length bounds', () => {
  const code =
    '/* export const GET = 1 */\n// export const PUT = 1\nexport const POST = 1\nexport { a as DELETE, type B }\n'
  expect([...exportedNames(code)]).toEqual(['POST', 'DELETE', 'B'])
  expect(usesCache('async function x() {\n  "use cache"\n}')).toBe(true)
  expect(usesCache("// 'use cache'\nconst a = 'use cache'")).toBe(false)
  for (const hostile of ['/*', ' ', "'use cache' ", 'export {', 'export const ', '<title>', 'metadata = {title:'])
    expect(exportedNames(hostile.repeat(20_000)).size + Number(usesCache(hostile.repeat(20_000)))).toBeLessThan(3)
})
