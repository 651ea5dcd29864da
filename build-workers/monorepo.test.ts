import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { serverKey } from '../registry/bundle-store/keys.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'
import { unpack } from './source.ts'

const worker = await TestWorker.start()
const scratch = await mkdtemp(join(tmpdir(), 'monorepo-'))
afterAll(() => Promise.all([worker[Symbol.asyncDispose](), rm(scratch, { recursive: true })]))

const json = (value: object) => JSON.stringify(value)
/** Two apps and two packages, of which the app `web` uses one. */
const repository = (manager: string, scripts: Record<string, string> = {}) => ({
  'atelier.config.json': json({ build: { root: 'apps/web' } }),
  'package.json': json({ name: 'top', private: true, packageManager: manager, workspaces: ['apps/*', 'packages/*'] }),
  ...(manager.startsWith('pnpm') ? { 'pnpm-workspace.yaml': 'packages:\n  - apps/*\n  - packages/*\n' } : {}),
  'shared/words.json': '{"word":"shared"}',
  'packages/lib/package.json': json({ name: '@acme/lib', version: '1.0.0', dependencies: { ms: '2.1.3' } }),
  'packages/lib/index.js': 'module.exports = require("ms")',
  'packages/other/package.json': json({ name: '@acme/other', version: '1.0.0', dependencies: { 'is-even': '1.0.0' } }),
  'packages/other/index.js': '',
  'apps/api/package.json': json({ name: 'api', version: '1.0.0', dependencies: { 'left-pad': '1.3.0' } }),
  'apps/api/server.js': '',
  'apps/web/package.json': json({
    ...{ name: 'web', version: '1.0.0', scripts: { start: 'node server.js', ...scripts } },
    dependencies: { '@acme/lib': manager.startsWith('yarn@1') || manager.startsWith('npm') ? '1.0.0' : 'workspace:*' },
    devDependencies: { 'is-number': '7.0.0' },
  }),
  'apps/web/server.js': `const ms = require("@acme/lib")
    const { word } = require("../../shared/words.json")
    require("http").createServer((q, s) => s.end(ms(1000) + word)).listen(process.env.PORT)`,
})

test.each([
  ['npm@11.21.2', {}],
  ['npm@11.21.2', { build: 'node -e "require(\'is-number\')"' }],
  ['pnpm@10.34.9', {}],
  ['pnpm@10.34.9', { build: 'node -e "require(\'is-number\')"' }],
  ['yarn@1.22.22', { build: 'node -e "require(\'is-number\')"' }],
  ['yarn@4.18.1', { build: 'node -e "require(\'is-number\')"' }],
  ['bun@1.4.5', {}],
  ['bun@1.4.5', { build: 'node -e "require(\'is-number\')"' }],
])('of a workspace under %s a server takes what it uses and runs (%o)', async (manager, scripts) => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, repository(manager, scripts))
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  const paths = [...(await serverPaths(built))]
  expect(paths).toEqual(
    expect.arrayContaining(['apps/web/server.js', 'packages/lib/index.js', 'shared/words.json', 'package.json']),
  )
  expect(paths.some((path) => path.endsWith('node_modules/ms/index.js'))).toBe(true)
  expect(paths.filter((path) => /is-number|is-even|left-pad|packages\/other|apps\/api/.test(path))).toEqual([])

  const again = await worker.deploy(app, { ...repository(manager, scripts), 'shared/words.json': '{"word":"new"}' })
  expect(again.manifest?.server?.modules?.sha256).toBe(built.manifest?.server?.modules?.sha256)
})

test('build.include takes along what nothing names', async () => {
  const files = {
    ...repository('npm@11.21.2'),
    'atelier.config.json': json({ build: { root: 'apps/web', include: ['packages/other'] } }),
  }
  const built = await worker.deploy(await worker.createApp(), files)
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  const paths = [...(await serverPaths(built))]
  expect(paths).toEqual(expect.arrayContaining(['packages/other/index.js', 'node_modules/is-even/package.json']))
  expect(paths.filter((path) => path.startsWith('apps/api/'))).toEqual([])
})

test('a push that changes nothing the app uses has the build of before, any other is built', async () => {
  const app = await worker.createApp()
  const files = repository('npm@11.21.2')
  const first = await worker.deploy(app, files)
  expect(first.deployment.stateReason, first.log.join('\n')).toBeNull()

  const elsewhere = { ...files, 'apps/api/server.js': 'changed', 'packages/other/new.js': '' }
  const same = await worker.deploy(app, elsewhere)
  expect(same.deployment).toMatchObject({ state: 'live', buildId: first.deployment.buildId })
  expect(same.deployment.version).not.toBe(first.deployment.version)
  expect(same.log.join('\n')).toContain(
    `nothing that apps/web uses has changed since ${first.deployment.version.slice(0, 7)}, built before: nothing to build`,
  )
  expect(same.log.join('\n')).not.toMatch(/Installing|Uploading/)

  const builtAnew = async (changed: Record<string, string>) => {
    const { deployment, log } = await worker.deploy(app, { ...elsewhere, ...changed })
    expect(deployment.stateReason, log.join('\n')).toBeNull()
    expect(log.join('\n')).toContain('Uploading')
    expect(deployment.buildId).not.toBe(first.deployment.buildId)
  }
  await builtAnew({ 'packages/lib/index.js': 'module.exports = require("ms"); // new' })
  await builtAnew({ 'shared/words.json': '{"word":"new"}' })
  await builtAnew({ '.npmrc': 'fund=false' })
  await builtAnew({ 'bin/tool': '' })
  await worker.setEnv(app, { WORD: 'new' })
  await builtAnew({})
})

test('an app that asks for its version is built for each', async () => {
  const app = await worker.createApp()
  const files = { ...repository('npm@11.21.2'), 'apps/web/version.js': 'console.log(process.env.ATELIER_VERSION)' }
  await worker.deploy(app, files)
  const again = await worker.deploy(app, { ...files, 'apps/api/server.js': 'changed' })
  expect(again.log.join('\n')).toContain('Uploading')
})

test('that another app of the repository asks for its version is no matter', async () => {
  const app = await worker.createApp()
  const files = { ...repository('npm@11.21.2'), 'apps/api/version.js': 'console.log(process.env.ATELIER_VERSION)' }
  const first = await worker.deploy(app, files)
  const again = await worker.deploy(app, { ...files, 'apps/api/server.js': 'changed' })
  expect(again.deployment).toMatchObject({ state: 'live', buildId: first.deployment.buildId })
})

test.each(['npm@11.21.2', 'pnpm@10.34.9'])(
  'what a member makes of its own files when it is installed under %s is there in every build, and is never that of other files',
  async (packageManager) => {
    const app = await worker.createApp()
    const files = (schema: string, text: string) => ({
      'package.json': json({ name: 'top', private: true, packageManager, workspaces: ['packages/*'] }),
      ...(packageManager.startsWith('pnpm') ? { 'pnpm-workspace.yaml': 'packages:\n  - packages/*\n' } : {}),
      'atelier.config.json': json({ build: { script: 'make.mjs', output: 'dist' } }),
      'make.mjs': `import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
        console.log('made of', readFileSync('packages/db/generated.txt', 'utf8'))
        mkdirSync('dist')
        writeFileSync('dist/index.html', '${text}')`,
      'packages/db/package.json': json({
        ...{ name: '@acme/db', version: '1.0.0', scripts: { postinstall: 'node generate.mjs' } },
        dependencies: { ms: '2.1.3' },
      }),
      'packages/db/generate.mjs': `import { copyFileSync } from 'node:fs'
        copyFileSync('schema.txt', 'generated.txt')`,
      'packages/db/schema.txt': schema,
      // Lies in the repository and belongs to no workspace.
      'fixtures/other/package.json': json({ name: 'other', scripts: { postinstall: 'exit 1' } }),
    })
    const deploy = async (schema: string, text: string) => {
      const { log, deployment } = await worker.deploy(app, files(schema, text))
      expect(deployment.stateReason, log.join('\n')).toBeNull()
      const said = log.join('\n')
      return `${said.includes('(cache hit)') ? 'kept' : 'new'}, ${/made of (\w+)/.exec(said)?.[1]}`
    }
    expect(await deploy('one', 'a')).toBe('new, one')
    expect(await deploy('one', 'b')).toBe('kept, one')
    expect(await deploy('two', 'b')).toBe('new, two')
  },
)

async function serverPaths({ deployment, manifest }: Built): Promise<Iterable<string>> {
  const name = { app: deployment.appId, version: deployment.version, build: manifest?.build ?? '' }
  const stream = await worker.deps.store.get(serverKey(name))
  const tree = await unpack(stream, join(scratch, deployment.id), { limits: { files: 1e4, bytes: 1e9 }, owner: null })
  return tree.paths()
}
