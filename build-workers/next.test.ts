import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { serverKey } from '../registry/bundle-store/keys.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'
import { stepIn } from '../test/support/steps.ts'
import { unpack } from './source.ts'
import { explainFailure, withOurSettings } from './transforms/next.ts'

// Next.js is played by a script that leaves what the real one leaves; test/full/next.test.ts builds with the real one.
const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

type Settings = { dist?: string; routes?: object; proxy?: boolean; config?: object }

function app({ dist = '.next', routes = {}, proxy = false, config = {} }: Settings = {}) {
  const serverFiles = { relativeAppDir: '', config: { basePath: '', output: 'standalone', ...config } }
  const files = {
    [`${dist}/required-server-files.json`]: JSON.stringify(serverFiles),
    [`${dist}/routes-manifest.json`]: JSON.stringify({ redirects: [{ internal: true }], headers: [], ...routes }),
    [`${dist}/server/functions-config-manifest.json`]: JSON.stringify({
      functions: proxy ? { '/_middleware': {} } : {},
    }),
    [`${dist}/static/chunks/0a1b2c3d.js`]: 'chunk',
    [`${dist}/standalone/server.js`]: [
      'process.chdir(__dirname)',
      'const nextConfig = {"compress":true,"experimental":{"isrFlushToDisk":true,"x":1}}',
      'const server = require("http").createServer((request, response) => {',
      '  response.appendHeader("location", "http://0.0.0.0:3000/login")',
      '  response.end(JSON.stringify(nextConfig))',
      '})',
      'server.listen(parseInt(process.env.PORT), "0.0.0.0")',
    ].join('\n'),
    [`${dist}/standalone/node_modules/next/package.json`]: '{}',
  }
  return {
    'package.json': { dependencies: { next: 'file:./next' }, scripts: { build: 'node make.mjs' } },
    'next/package.json': { name: 'next', version: '16.0.0' },
    'next.config.js': dist === '.next' ? '' : `module.exports = { distDir: '${dist}' }`,
    'public/logo.svg': '<svg/>',
    'public/.secret': '',
    'make.mjs': `import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
      import { dirname } from 'node:path'
      const before = '${dist}/cache/builds'
      const count = existsSync(before) ? Number(readFileSync(before, 'utf8')) + 1 : 1
      const write = (path, text) => (mkdirSync(dirname(path), { recursive: true }), writeFileSync(path, text))
      write(before, String(count))
      console.log('build ' + count, process.env.NEXT_PRIVATE_STANDALONE, process.env.NEXT_TELEMETRY_DISABLED)
      for (const [path, text] of Object.entries(${JSON.stringify(files)})) write(path, text.replace('$PWD', process.cwd()))`,
  }
}

async function unpacked({ deployment, manifest }: Built): Promise<{ root: string; paths: string[] }> {
  const root = join(worker.home, 'unpacked')
  await rm(root, { recursive: true, force: true })
  const key = serverKey({ app: deployment.appId, version: deployment.version, build: manifest?.build ?? '' })
  const limits = { files: 1000, bytes: 1e8 }
  await unpack(await worker.deps.store.get(key), root, { limits, owner: null })
  return { root, paths: (await readdir(root, { recursive: true })).sort() }
}

test('the server that Next.js builds is packed with its static files, which the edge serves', async () => {
  const built = await worker.deploy(await worker.createApp(), app())
  expect(built.deployment.stateReason).toBeNull()
  expect(built.log[0]).toContain('Next.js detected (next in package.json, next.config.js)')
  expect(built.log).toContainEqual(expect.stringMatching(/build 1 1 1$/))
  expect(built.manifest).toMatchObject({
    ...{ kind: 'server', framework: 'next', transforms_applied: ['next'], spa_fallback: false },
    server: { entry: 'atelier.next.mjs', modules: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
  })
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(['_next/static/chunks/0a1b2c3d.js', 'logo.svg'])

  const { root, paths } = await unpacked(built)
  expect(paths).toEqual(
    expect.arrayContaining(['.next/static/chunks/0a1b2c3d.js', 'node_modules/next/package.json', 'public/logo.svg']),
  )
  expect(paths).not.toContain('.next/cache')
  expect(await readFile(join(root, 'server.js'), 'utf8')).toContain(
    'const nextConfig = {"compress":false,"experimental":{"isrFlushToDisk":false,"x":1}}\n',
  )
})

test('what Next.js traces of the dependencies is one piece of the bundle, the same until one of its files is another', async () => {
  const name = await worker.createApp()
  const pieceOf = ({ manifest }: Built) => manifest?.server?.modules?.sha256
  const first = await worker.deploy(name, app())
  const changed = { ...app(), 'make.mjs': app()['make.mjs'].replace('response.end(', 'response.end(/* another */ ') }
  const second = await worker.deploy(name, changed)
  expect(second.manifest?.server?.sha256).not.toBe(first.manifest?.server?.sha256)
  expect(pieceOf(second)).toBe(pieceOf(first))
  const traced = { ...app(), 'make.mjs': app()['make.mjs'].replace('package.json":"{}', 'package.json":"{ }') }
  expect(traced['make.mjs']).not.toBe(app()['make.mjs'])
  const third = await worker.deploy(name, traced)
  expect(pieceOf(third)).not.toBe(pieceOf(first))
  const { root } = await unpacked(third)
  expect(await readFile(join(root, 'node_modules/next/package.json'), 'utf8')).toBe('{ }')
})

test('what Next.js keeps for its next build is there in the next build, of that app alone', async () => {
  const name = await worker.createApp()
  const broken = { ...app(), 'make.mjs': `${app()['make.mjs']}\nprocess.exit(1)` }
  const said = ({ log }: Built) => log.find((line) => /^ +build \d/.test(line))?.trim()
  const builds = [
    await worker.deploy(name, app()),
    await worker.deploy(name, broken),
    await worker.deploy(name, app()),
    await worker.deploy(await worker.createApp(), app()),
  ]
  expect(builds.map(({ deployment }) => deployment.state)).toEqual(['live', 'failed', 'live', 'live'])
  expect(builds.map(said)).toEqual(['build 1 1 1', 'build 2 1 1', 'build 3 1 1', 'build 1 1 1'])
})

test('a symlink where Next.js keeps its cache leads nobody out of the build', async () => {
  const name = await worker.createApp()
  await worker.deploy(name, app())
  const sly = `import { rmSync, symlinkSync } from 'node:fs'
    rmSync('.next', { recursive: true })
    symlinkSync('/etc', '.next')
    process.exit(1)`
  expect((await worker.deploy(name, { ...app(), 'make.mjs': sly })).deployment.state).toBe('failed')
  const link = `import { rmSync, symlinkSync } from 'node:fs'
    rmSync('.next', { recursive: true, force: true })
    symlinkSync('.', '.next')
    symlinkSync('/etc', 'cache')
    process.exit(1)`
  expect((await worker.deploy(name, { ...app(), 'make.mjs': link })).deployment.state).toBe('failed')
  const after = await worker.deploy(name, app())
  expect(after.deployment.stateReason).toBeNull()
  expect(after.log).toContainEqual(expect.stringMatching(/ build 1 1 1$/))
})

describe('what lies in public/', () => {
  test.each<[string, Settings]>([
    ['a proxy', { proxy: true }],
    ['headers', { routes: { headers: [{ source: '/:path*' }] } }],
    ['a redirect', { routes: { redirects: [{ source: '/logo.svg' }] } }],
    ['a rewrite before files', { routes: { rewrites: { beforeFiles: [{}], afterFiles: [], fallback: [] } } }],
  ])('is left to the app when it has %s', async (_, settings) => {
    const built = await worker.deploy(await worker.createApp(), app(settings))
    expect(built.deployment.stateReason).toBeNull()
    expect(built.log.join('\n')).toContain('public/ is served by the app itself')
    expect(built.manifest?.files.map(({ path }) => path)).toEqual(['_next/static/chunks/0a1b2c3d.js'])
  })
})

test.each<[string, Settings, boolean]>([
  ['pages alone', {}, false],
  ['a plain redirect', { routes: { redirects: [{ source: '/a' }] } }, false],
  ['a proxy', { proxy: true }, true],
  ['a rewrite by cookie', { routes: { rewrites: [{ source: '/', has: [{ type: 'cookie' }] }] } }, true],
  ['languages', { routes: { i18n: { locales: ['en', 'fr'] } } }, true],
])('whether visitors see different pages at one address is told to the server: %s', async (_, settings, expected) => {
  const built = await worker.deploy(await worker.createApp(), app(settings))
  const { root } = await unpacked(built)
  expect(JSON.parse(await readFile(join(root, 'atelier.next.json'), 'utf8'))).toEqual({ decidesByVisitor: expected })
})

test('basePath, assetPrefix and a folder of its own for what is built', async () => {
  const config = { basePath: '/docs', assetPrefix: '/cdn' }
  const built = await worker.deploy(await worker.createApp(), app({ dist: 'build', config }))
  expect(built.manifest?.files.map(({ path }) => path)).toEqual([
    'cdn/_next/static/chunks/0a1b2c3d.js',
    'docs/_next/static/chunks/0a1b2c3d.js',
    'docs/logo.svg',
  ])
  expect((await unpacked(built)).paths).toContain('build/static/chunks/0a1b2c3d.js')
})

test("output: 'export' is a static site", async () => {
  const files = app({ config: { output: 'export' } })
  const make = `${files['make.mjs']}
    write('.next/export-detail.json', JSON.stringify({ outDirectory: process.cwd() + '/out' }))
    for (const name of ['index.html', '404.html', 'about.html']) write('out/' + name, name)`
  const built = await worker.deploy(await worker.createApp(), { ...files, 'make.mjs': make })
  expect(built.manifest).toMatchObject({ kind: 'static', framework: 'next', server: null, spa_fallback: false })
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(['404.html', 'about.html', 'index.html'])
})

test('build.kind process runs the same server as a process', async () => {
  const files = { ...app(), 'atelier.config.json': { build: { kind: 'process' } } }
  const built = await worker.deploy(await worker.createApp(), files)
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject({ kind: 'process', server: { start: { command: 'node atelier.next.mjs' } } })
  expect(stepIn(built.log, 'Verifying')).toMatch(/GET \/ → 200/)
})

test('a build that leaves no server says what it takes', async () => {
  const built = await worker.deploy(await worker.createApp(), { ...app(), 'make.mjs': '' })
  expect(built.deployment.stateReason).toMatch(/the build script \(node make.mjs\) left no server of Next.js/)
})

test('fonts that cannot be fetched are named', () => {
  expect(explainFailure(['Error while requesting https://fonts.googleapis.com/css2?family=Geist'])).toContain(
    'next/font/local',
  )
  expect(explainFailure(['Type error: x'])).toBeNull()
})

test('a server.js without the settings line stays as it is', () => {
  expect(withOurSettings('startServer({})')).toBe('startServer({})')
})
