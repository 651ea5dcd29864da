import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { afterAll, expect, test } from 'vitest'
import { blobKey, manifestKey, staticPathsKey } from '../registry/bundle-store/keys.ts'
import { type Built, type TestFiles, TestWorker } from '../test/support/build-worker.ts'
import { reachableDatabase } from '../test/support/reachable-database.ts'
import { stepIn } from '../test/support/steps.ts'

const database = await reachableDatabase()
const worker = await TestWorker.start({ ATELIER_EGRESS_ALLOW: database.egressAllow })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const page = (body: string) => `new Response(${JSON.stringify(body)}, { headers: { 'content-type': 'text/html' } })`
const app = (answers: Record<string, string>, paths: string): TestFiles => ({
  'package.json': { type: 'module', main: 'main.js' },
  'main.js': `
    const answers = { ${Object.entries(answers).map(([path, answer]) => `${JSON.stringify(path)}: () => ${answer}`)} }
    export const staticPaths = ${paths}
    export default { fetch: (request) => answers[new URL(request.url).pathname]?.() ?? new Response('nothing', { status: 404 }) }
  `,
})
const home = { '/': page('home') }

async function deploy(files: TestFiles): Promise<Built> {
  return worker.deploy(await worker.createApp(), files)
}

async function bodyOf({ manifest }: Built, path: string): Promise<string | null> {
  const file = manifest?.files.find((one) => one.path === path)
  return file ? text(await worker.deps.store.get(blobKey(file.sha256))) : null
}

async function pathsOf({ manifest }: Built): Promise<unknown> {
  const { app_id: app = '', version = '', build = '' } = manifest ?? {}
  return JSON.parse(await text(await worker.deps.store.get(staticPathsKey({ app, version, build }))))
}

test('what an app exports as staticPaths, and what the config lists, become files of the bundle', async () => {
  const built = await deploy({
    ...app(
      {
        ...home,
        '/posts/1': page('one'),
        '/posts/2': page('two'),
        '/docs/': page('docs'),
        '/feed.xml': "new Response('<feed/>', { headers: { 'content-type': 'application/atom+xml', etag: 'x' } })",
        '/data': "Response.json({ a: 1 }, { headers: { 'x-frame-options': 'DENY' } })",
      },
      "async () => [1, 2].map((id) => '/posts/' + id)",
    ),
    'atelier.config.json': { build: { static: { paths: ['/', '/docs/', '/feed.xml', '/data', '/posts/1'] } } },
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.files.map(({ path, content_type }) => [path, content_type])).toEqual([
    ['data', 'application/json'],
    ['docs/index.html', 'text/html'],
    ['feed.xml', 'application/atom+xml'],
    ['index.html', 'text/html'],
    ['posts/1.html', 'text/html'],
    ['posts/2.html', 'text/html'],
  ])
  expect(await bodyOf(built, 'posts/2.html')).toBe('two')
  expect(stepIn(built.log, 'Listing')).toContain('staticPaths: 2 paths')
  expect(built.log).toContain('-----> Prerendering 6 pages')
  expect(built.log.join('\n')).toContain('headers not kept: x-frame-options; public/_headers can set them')
  const at = (name: string) => built.log.findIndex((line) => line.startsWith(`-----> ${name}`))
  expect(at('Prerendering')).toBeLessThan(at('Verifying'))
  expect(built.manifest?.routes.pages).toEqual(['/', '/docs', '/posts/1', '/posts/2'])
  expect(await pathsOf(built)).toMatchObject({
    pages: expect.arrayContaining([expect.objectContaining({ path: '/docs/', file: 'docs/index.html' })]),
    left_to_app: [],
  })
})

test('an Express-like server is asked as well, with the host and scheme that visitors use', async () => {
  const built = await deploy({
    'server.js': `require('http').createServer((request, response) => {
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end([request.url, request.headers.host, request.headers['x-forwarded-proto']].join(' '))
    }).listen(process.env.PORT)`,
    'atelier.config.json': { build: { static: { paths: ['/caf%C3%A9'] } } },
  })
  expect(built.deployment.stateReason).toBeNull()
  const { label } = built.deployment
  expect(await bodyOf(built, 'café.html')).toBe(`/caf%C3%A9 ${label}.apps.localhost:8080 http`)
  expect(built.manifest?.files[0]?.content_type).toBe('text/html; charset=utf-8')
})

test('pages of an app that a thread cannot hold come all from the process it runs as', async () => {
  const built = await deploy({
    'server.js': `const by = require('worker_threads').isMainThread ? 'a process' : 'a thread'
      require('http').createServer((request, response) => {
        response.setHeader('content-type', 'text/html')
        const answer = () => response.end(request.url + ' by ' + by)
        if (request.url !== '/signal') return answer()
        process.once('SIGUSR2', answer)
        process.kill(process.pid, 'SIGUSR2')
      }).listen(process.env.PORT)`,
    'atelier.config.json': { build: { static: { concurrent: 1, paths: ['/', '/signal'] } } },
  })
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  expect(built.log.join('\n')).toMatch(/runs as a process, for a thread cannot hold it: it was ended by SIGUSR2/)
  expect(built.manifest?.kind).toBe('process')
  expect(await bodyOf(built, 'index.html')).toBe('/ by a process')
  expect(await bodyOf(built, 'signal.html')).toBe('/signal by a process')
})

test('pages may read the database as the migrations leave it', async () => {
  const name = await worker.createApp()
  await worker.setEnv(name, { DATABASE_URL: database.url }, { runtimeOnly: true })
  const built = await worker.deploy(name, {
    ...app(home, "async (env) => [env.DATABASE_URL ? '/' : '/no-database']"),
    'atelier.config.json': { database: { migrations: 'migrations' } },
    'migrations/0001.sql': 'create table posts (id int)',
  })
  expect(built.deployment.stateReason).toBeNull()
  const at = (step: string) => built.log.findIndex((line) => line.startsWith(`-----> ${step}`))
  expect(at('Migrating')).toBeGreaterThan(-1)
  expect(at('Migrating')).toBeLessThan(at('Listing'))
  expect(await bodyOf(built, 'index.html')).toBe('home')
})

test('pages that a variable for run time only is in are rendered again when that is another', async () => {
  const files = {
    'apps/web/package.json': { name: 'web', type: 'module', main: 'main.js' },
    'apps/web/main.js': `
      export const staticPaths = ['/text']
      export default { fetch: (_, env) => Response.json(env.SAID) }
    `,
    'apps/other/package.json': { name: 'other' },
    'atelier.config.json': { build: { root: 'apps/web' } },
  }
  const id = await worker.createApp()
  const deploySaying = async (text: string) => {
    await worker.setEnv(id, { SAID: text }, { runtimeOnly: true })
    return worker.deploy(id, files)
  }
  const first = await deploySaying('one')
  expect(await bodyOf(first, 'text')).toBe('"one"')
  expect((await worker.deploy(id, files)).deployment.buildId).toBe(first.deployment.buildId)
  expect(await bodyOf(await deploySaying('two'), 'text')).toBe('"two"')
})

test('what is for one visitor, leads elsewhere or is a file already is left to the app, with the reason', async () => {
  const headers = (more: object) =>
    `new Response('x', { headers: ${JSON.stringify({ 'content-type': 'text/html', ...more })} })`
  const built = await deploy({
    ...app(
      {
        ...home,
        '/cookie': headers({ 'set-cookie': 'session=secret-1; HttpOnly' }),
        '/private': headers({ 'cache-control': 'private, max-age=1' }),
        '/language': headers({ vary: 'Accept-Encoding, Accept-Language' }),
        '/old': "Response.redirect('http://localhost/new', 301)",
        '/zip': headers({ 'content-encoding': 'gzip' }),
        '/json/': 'Response.json(1)',
        '/about': page('of the app'),
      },
      "['/', '/cookie', '/private', '/language', '/old', '/zip', '/json/', '/about']",
    ),
    'public/about.html': 'of the folder',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(['about.html', 'index.html'])
  expect(await bodyOf(built, 'about.html')).toBe('of the folder')
  const log = built.log.join('\n')
  for (const line of [
    '/cookie is left to the app: it sets the cookie session, which is for one visitor',
    '/private is left to the app: its cache-control says private',
    '/language is left to the app: it differs with each visitor’s accept-language (vary)',
    '/old is left to the app: it answers 301 to http://localhost/new',
    '/zip is left to the app: it is compressed without being asked to',
    '/json/ is left to the app: it is application/json, and only a page can have a path that ends in /',
    '/about is left to the app: a file of that name is published already',
  ])
    expect(log).toContain(line)
  expect(log).not.toContain('secret-1')
  expect(log).toMatch(/1 page, 7 left to the app/)
})

test.each<[string, TestFiles, string, string]>([
  [
    'a page that fails',
    app({ ...home, '/bad': "new Response('<h1>no such post</h1>', { status: 500 })" }, "['/', '/bad']"),
    'PRERENDER_FAILED',
    'GET /bad answered 500 (no such post); a page that is prerendered answers 200',
  ],
  [
    'a page that is not there',
    app(home, "['/', '/gone']"),
    'PRERENDER_FAILED',
    'GET /gone answered 404 (nothing); a page that is prerendered answers 200',
  ],
  [
    'a page without an end',
    app(
      { ...home, '/endless': 'new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(65536)) }))' },
      "['/', '/endless']",
    ),
    'PRERENDER_FAILED',
    'GET /endless: its body is larger than 16 MB',
  ],
  [
    'a page that does not come',
    {
      ...app({ ...home, '/never': 'new Promise(() => {})' }, "['/', '/never']"),
      'atelier.config.json': { build: { static: { timeoutSec: 1 } } },
    },
    'PRERENDER_FAILED',
    'GET /never: no answer within 1 s',
  ],
  [
    'a page that stops half-way',
    {
      ...app(
        {
          ...home,
          '/half': "new Response(new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode('half')) }))",
        },
        "['/', '/half']",
      ),
      'atelier.config.json': { build: { static: { timeoutSec: 1 } } },
    },
    'PRERENDER_FAILED',
    'GET /half: no answer within 1 s',
  ],
  [
    'an app that ends over a page',
    app({ ...home, '/end': 'process.exit(3)' }, "['/', '/end']"),
    'APP_CRASHED',
    'GET /end: node bundle.js exited with 3',
  ],
  [
    'a way out',
    app(home, "['/', '/../../etc/passwd']"),
    'CONFIG_INVALID',
    'staticPaths[1]: "/../../etc/passwd" has . or .. in it',
  ],
  [
    'no list',
    app(home, "({ '/': 1 })"),
    'PRERENDER_FAILED',
    'staticPaths: it must be a list of paths, or a function that gives one, not an object',
  ],
  [
    'a list that fails',
    app(home, "() => { throw new TypeError('no database') }"),
    'PRERENDER_FAILED',
    'staticPaths: it threw TypeError: no database',
  ],
  [
    'a list without an end',
    app(home, "Array.from({ length: 100_000 }, (_, at) => '/' + at)"),
    'CONFIG_INVALID',
    'staticPaths lists 100000 paths; at most 10000 can be prerendered',
  ],
  [
    'an app that ends before it has listed',
    app(home, '(() => process.exit(0))'),
    'PRERENDER_FAILED',
    'staticPaths: the app ended before it had listed its paths',
  ],
])('%s fails the build and is named', async (_, files, errorCode, reason) => {
  const { deployment, manifest } = await deploy(files)
  expect(deployment).toMatchObject({ state: 'failed', errorCode })
  expect(deployment.stateReason).toContain(reason)
  expect(manifest).toBeNull()
})

test('switched off, nothing is rendered; and the paths of a config are refused where they stand', async () => {
  const files = app(home, "['/']")
  const off = await deploy({ ...files, 'atelier.config.json': { build: { static: { enabled: false } } } })
  expect(off.deployment.stateReason).toBeNull()
  expect(off.manifest?.files).toEqual([])
  const bad = { build: { static: { paths: ['/', '/a//b'] } } }
  const refused = await deploy({ ...files, 'atelier.config.json': bad })
  expect(refused.log.join('\n') + refused.deployment.stateReason).toContain(
    'build.static.paths[1]: has an empty part (//)',
  )
})

test('pages are asked for a few at a time, as many as the config says', async () => {
  const built = await deploy({
    'package.json': { type: 'module', main: 'main.js' },
    // Each page waits until three are asked for together; a fourth would be seen.
    'main.js': `
      let open = 0, most = 0
      const full = Promise.withResolvers()
      export const staticPaths = ['/1', '/2', '/3', '/4', '/5', '/6']
      export default {
        async fetch(request) {
          if (new URL(request.url).pathname === '/') return new Response('most ' + most)
          open += 1
          most = Math.max(most, open)
          if (open === 3) full.resolve()
          await full.promise
          await new Promise((resolve) => setTimeout(resolve, 50))
          open -= 1
          return new Response('most ' + most, { headers: { 'content-type': 'text/html' } })
        },
      }`,
    'atelier.config.json': { build: { static: { concurrent: 3 } } },
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(await bodyOf(built, '6.html')).toBe('most 3')
})

test('nothing of the pages is left in the build’s folder', async () => {
  const built = await deploy(app(home, "['/']"))
  const { app_id, version = '', build = '' } = built.manifest ?? {}
  expect(await worker.deps.store.has([manifestKey({ app: app_id ?? '', version, build })])).toHaveProperty('size', 1)
  await expect(readFile(`${worker.home}/builds/${built.deployment.id}/static-pages/0`)).rejects.toThrow('ENOENT')
})
