import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'

// The frameworks' builds are played by scripts that leave what the real ones leave.
const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

const server = (word: string) =>
  `import { createServer } from 'node:http'
  createServer((request, response) => response.end('${word}')).listen(process.env.PORT)`

type Left = Record<string, string>
const app = (dependency: string, left: Left, { files = {}, scripts = {} } = {}) => ({
  'package.json': {
    type: 'module',
    devDependencies: { [dependency]: 'file:./framework' },
    scripts: { build: 'node make.mjs', ...scripts },
  },
  'framework/package.json': { name: dependency, version: '1.0.0', bin: './serve.mjs' },
  'framework/serve.mjs': `#!/usr/bin/env node\n${server('served')}`,
  'make.mjs': `import { mkdirSync, writeFileSync } from 'node:fs'
    import { dirname } from 'node:path'
    for (const [path, text] of Object.entries(${JSON.stringify(left)})) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }`,
  ...files,
})

test.each<[string, Left, object, string[]]>([
  [
    '@sveltejs/kit',
    { 'build/index.js': server('svelte'), 'build/client/_app/immutable/a.js': '' },
    { kind: 'server', framework: 'sveltekit', server: { entry: 'build/index.js' } },
    ['_app/immutable/a.js'],
  ],
  [
    '@sveltejs/kit',
    { 'build/index.html': '', 'build/about.html': '' },
    { kind: 'static', framework: 'sveltekit', server: null },
    ['about.html', 'index.html'],
  ],
  [
    'nuxt',
    { '.output/server/index.mjs': server('nuxt'), '.output/public/_nuxt/a.js': '' },
    { kind: 'server', framework: 'nuxt', server: { entry: '.output/server/index.mjs', modules: null } },
    ['_nuxt/a.js'],
  ],
  ['nuxt', { '.output/public/index.html': '' }, { kind: 'static', server: null }, ['index.html']],
  [
    'astro',
    { 'dist/server/entry.mjs': server('astro'), 'dist/client/_astro/a.js': '' },
    { kind: 'server', framework: 'astro', server: { entry: 'dist/server/entry.mjs' } },
    ['_astro/a.js'],
  ],
  ['astro', { 'dist/index.html': '' }, { kind: 'static', framework: 'astro', server: null }, ['index.html']],
  ['@react-router/dev', { 'build/client/index.html': '' }, { kind: 'static', spa_fallback: true }, ['index.html']],
  ['@angular/core', { 'dist/web/browser/index.html': '' }, { kind: 'static', framework: 'angular' }, ['index.html']],
])('%s: what its build leaves says what it is', async (dependency, left, manifest, files) => {
  const built = await worker.deploy(await worker.createApp(), app(dependency, left))
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject(manifest)
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(files)
})

test('a server for a program of the dependencies is run as the start script says, its files served by the edge', async () => {
  const left = { 'build/server/index.js': 'export default {}', 'build/client/assets/a.js': '' }
  const built = await worker.deploy(
    await worker.createApp(),
    app('@react-router/dev', left, {
      scripts: { start: 'sh ./serve.sh build/server/index.js' },
      files: { 'serve.sh': 'exec node serve.mjs', 'serve.mjs': server('served') },
    }),
  )
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject({
    kind: 'process',
    framework: 'react-router',
    server: { start: { command: 'sh ./serve.sh build/server/index.js' } },
  })
  expect(built.manifest?.files.map(({ path }) => path)).toEqual(['assets/a.js'])
})

test('an adapter that looks where it is leaves a Node server, unless the app says otherwise', async () => {
  const files = () => app('@sveltejs/kit', {}, { files: { 'make.mjs': adapter } })
  const built = await worker.deploy(await worker.createApp(), files())
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest).toMatchObject({ kind: 'server', framework: 'sveltekit', server: { entry: 'build/index.js' } })

  const told = await worker.createApp()
  await worker.setEnv(told, { GCP_BUILDPACKS: '' })
  expect((await worker.deploy(told, files())).deployment.stateReason).toMatch(/left neither a server/)
})

const adapter = `import { mkdirSync, writeFileSync } from 'node:fs'
  if (process.env.GCP_BUILDPACKS) {
    mkdirSync('build')
    writeFileSync('build/index.js', ${JSON.stringify(server('svelte'))})
  }`

test('a build that leaves nothing of the kind says what to do', async () => {
  const built = await worker.deploy(await worker.createApp(), app('@sveltejs/kit', { '.svelte-kit/output/x': '' }))
  expect(built.deployment.stateReason).toBe(
    'build failed: node make.mjs left neither a server nor pages; put @sveltejs/adapter-node, or @sveltejs/adapter-static, in the place of its adapter in vite.config or svelte.config.js',
  )
})
