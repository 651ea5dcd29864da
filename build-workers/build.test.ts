import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { serverKey } from '../registry/bundle-store/keys.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'
import { stepIn } from '../test/support/steps.ts'
import { unpack } from './source.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

const listener = 'require("http").createServer((q, s) => s.end("hi")).listen(process.env.PORT)'

test('a static folder is published without its private files, and only what changed is uploaded', async () => {
  const app = await worker.createApp()
  const files = {
    'index.html': '<h1>one</h1>',
    'js/app.js': 'x'.repeat(2000),
    '.env': 'SECRET=1',
    '.git/config': '',
    'atelier.config.json': '{}',
  }
  const first = await worker.deploy(app, files)
  expect(first.deployment).toMatchObject({ state: 'live', stateReason: null })
  expect(first.manifest).toMatchObject({
    kind: 'static',
    framework: 'static',
    server: null,
    spa_fallback: false,
    routes: { pages: ['/'], api: [], static: ['/'] },
  })
  expect(first.manifest?.files.map(({ path }) => path)).toEqual(['index.html', 'js/app.js'])
  expect(first.manifest?.files[1]?.encodings.map(({ encoding }) => encoding)).toEqual(['br', 'zstd', 'gzip'])

  const second = await worker.deploy(app, { ...files, 'index.html': '<h1>two</h1>' })
  expect(second.log.join('\n')).toContain('Uploading   1 of 2 files changed')
  expect(second.manifest?.files[1]).toEqual(first.manifest?.files[1])
  await expectNothingLeft(second)
})

test('the log reads like the transcript', async () => {
  const app = await worker.createApp()
  const { log, deployment } = await worker.deploy(app, {
    'src/index.ts': 'export default { fetch: (r: Request) => new Response("hi") }',
  })
  expect(log[0]).toBe(
    `-----> ${app} ${deployment.version.slice(0, 7)} · fetch app detected (default export with fetch in src/index.ts)`,
  )
  expect(stepIn(log, 'Bundling')).toMatch(/^-----> Bundling {4}src\/index.ts → bundle.js \d+ B +\d+\.\d s$/)
  expect(stepIn(log, 'Verifying')).toMatch(/^-----> Verifying {3}GET \/ → 200 +\d+\.\d s$/)
  expect(stepIn(log, 'Uploading')).toMatch(/^-----> Uploading {3}server code \d+ B +\d+\.\d s$/)
  expect(stepIn(log, 'Live')).toMatch(/^-----> Live {8}http:\/\/app-\w+.apps.localhost:8080 +\d+\.\d s in all$/)
})

test('a fetch app becomes one file with its source map, and its public folder is served beside it', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'package.json': { type: 'module', main: 'main.js' },
    'main.js': 'import { word } from "./lib/word.js"; export default { fetch: () => new Response(word) }',
    'lib/word.js': 'export const word = "hi"',
    'public/robots.txt': 'User-agent: *',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject({
    kind: 'fetch',
    server: { entry: 'bundle.js' },
    files: [{ path: 'robots.txt', content_type: 'text/plain; charset=utf-8' }],
  })
  expect([...(await serverPaths(built))].sort()).toEqual(['bundle.js', 'bundle.js.map', 'package.json'])
})

test('a bundled CommonJS dependency may require Node and know where it is', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'index.ts':
      'import lib from "./lib.cjs"\nconst __dirname = "mine"\nexport default { fetch: () => new Response(lib() + __dirname) }',
    'lib.cjs':
      'const { sep } = require("path"); const name = "o" + "s"; module.exports = () => sep + require(name).EOL + typeof __dirname + __filename',
  })
  expect(built.deployment.stateReason).toBeNull()
})

test('a dependency that is a folder of the app is found when it is not installed anew, and as it is by then', async () => {
  const app = await worker.createApp()
  const files = (word: string, index: string) => ({
    'package.json': { type: 'module', main: 'main.js', dependencies: { words: 'file:./words' } },
    'words/package.json': { name: 'words', version: '1.0.0', type: 'module', main: 'index.js' },
    'words/index.js': index,
    'main.js': `import { ${word} } from 'words'\nexport default { fetch: () => new Response(${word}) }`,
  })
  await worker.deploy(app, files('one', 'export const one = "1"'))
  const second = await worker.deploy(app, files('two', 'export const two = "2"'))
  expect(second.log.join('\n')).toContain('npm install (cache hit)')
  expect(second.deployment.stateReason).toBeNull()
})

test('a Node server is published with its files, without git and npm settings', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'server.js': listener,
    'views/a.txt': 'a',
    '.npmrc': '//r/:_authToken=x',
    'atelier.config.mjs':
      'export default { deployments: { healthCheck: { path: "/ok", timeoutSec: 2 }, drainTimeoutSec: 7, sleepAfterMin: 20, maxIsolates: 3 } }',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject({
    kind: 'server',
    framework: 'node',
    server: { entry: 'server.js' },
    health: { path: '/ok', timeout_sec: 2, strict: true },
    drain_timeout_sec: 7,
    sleep_after_min: 20,
    max_isolates: 3,
  })
  expect([...(await serverPaths(built))].sort()).toEqual(['atelier.config.mjs', 'server.js', 'views/a.txt'])
  await expectNothingLeft(built)
})

test('a server in TypeScript is bundled in place', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'src/server.ts':
      'import { createServer } from "node:http"\nimport { enumerate } from "./parts"\ncreateServer((q, s) => s.end(String(enumerate()))).listen(process.env.PORT)',
    'src/parts.ts': 'enum Kind { A, B }\nexport const enumerate = () => Kind.B',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.server?.entry).toBe('src/server.cjs')
})

test('a build script of package.json runs before a server is packed', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'package.json': { scripts: { build: 'node make.js', start: 'node dist/server' } },
    'make.js': `require('fs').mkdirSync('dist'); require('fs').writeFileSync('dist/server.js', ${JSON.stringify(listener)})`,
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.server?.entry).toBe('dist/server.js')
})

test('build.script, hooks and build.env of the config are used', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'atelier.config.ts': `
      import { defineConfig } from '@atelier/platform'
      console.log('this is shown')
      export default defineConfig({
        build: { script: 'scripts/build.sh', output: 'www', env: { VITE_NAME: 'you', PLAIN: 'p' } },
        hooks: { preBuild: 'mkdir www && echo "$ATELIER_APP" > www/app.txt', postBuild: 'node after.mjs', postDeploy: 'true' },
      } as const)`,
    'scripts/build.sh': '#!/bin/sh\necho "<p>hello $VITE_NAME $NODE_ENV $CI</p>" > www/index.html\n',
    'after.mjs': 'import { cpSync } from "node:fs"; cpSync("www/index.html", "www/copy.html")',
  })
  expect(built.deployment.stateReason).toBeNull()
  const log = built.log.join('\n')
  expect(log).toContain('this is shown')
  expect(log).toContain('Custom build detected (build.script in atelier.config)')
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(['app.txt', 'copy.html', 'index.html'])
  expect(built.manifest?.env_names).toEqual(['PLAIN', 'VITE_NAME'])
})

test('a folder of a monorepo is built by build.root', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'atelier.config.json': '{"build":{"root":"apps/web"}}',
    'apps/web/server.js': listener,
    'apps/web/a.txt': '',
    'README.md': '',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect([...(await serverPaths(built))].sort()).toEqual(['a.txt', 'server.js'])
})

test('a build sees the app’s variables but those for run time, and their values never show', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { API_TOKEN: 'correct-horse-battery', VITE_PUBLIC_URL: 'https://public.example' })
  await worker.setEnv(app, { RUN_TOKEN: 'only-at-run-time' }, { runtimeOnly: true })
  const script =
    'mkdir dist; echo "$API_TOKEN and $VITE_PUBLIC_URL and [$RUN_TOKEN]"; env | sort > dist/index.html; env | grep -ci platform'
  const built = await worker.deploy(app, {
    'atelier.config.json': { build: { script } },
  })
  const log = built.log.join('\n')
  expect(log).toContain('[API_TOKEN] and https://public.example and []')
  expect(log).not.toContain('correct-horse')

  const server = await worker.deploy(app, {
    'server.js': `if (!process.env.RUN_TOKEN) throw new Error("RUN_TOKEN is not set")\nconsole.log(process.env.RUN_TOKEN)\n${listener}`,
  })
  expect(server.deployment.stateReason).toBeNull()
})

test('nothing of the platform’s own environment reaches a build', async () => {
  const app = await worker.createApp()
  process.env['CANARY_SECRET'] = 'canary'
  const built = await worker.deploy(app, {
    'atelier.config.json': { build: { script: 'env; mkdir dist; touch dist/index.html' } },
  })
  delete process.env['CANARY_SECRET']
  const names = built.log.flatMap((line) => /^\s+([A-Za-z_]\w*)=/.exec(line)?.[1] ?? []).sort()
  expect(names).toEqual(expect.arrayContaining(['CI', 'HOME', 'NODE_ENV', 'PATH', 'TMPDIR', 'npm_config_cache']))
  expect(names.filter((name) => /CANARY|DATABASE|TOKEN|KEY|PG/.test(name))).toEqual([])
})

async function serverPaths(built: Built): Promise<Iterable<string>> {
  const { appId, version } = built.deployment
  const stream = await worker.deps.store.get(serverKey({ app: appId, version, build: built.manifest?.build ?? '' }))
  const into = join(worker.home, `unpacked-${built.deployment.id}`)
  const tree = await unpack(stream, into, { limits: { files: 10_000, bytes: 1e9 }, owner: null })
  return tree.paths()
}

async function expectNothingLeft({ deployment }: Built): Promise<void> {
  expect(existsSync(join(worker.home, 'builds', deployment.id))).toBe(false)
  const sockets = await readdir(join(worker.home, 'run', 'i')).catch(() => [])
  expect(sockets.filter((name) => name.startsWith(deployment.id))).toEqual([])
}
