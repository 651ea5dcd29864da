import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { serverKey } from '../registry/bundle-store/keys.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'
import { unpack } from './source.ts'

const worker = await TestWorker.start()
const fixtures = join(import.meta.dirname, '../test/fixtures/dependencies')
const scratch = await mkdtemp(join(tmpdir(), 'install-'))
afterAll(() => Promise.all([worker[Symbol.asyncDispose](), rm(scratch, { recursive: true })]))

test.each([
  ['npm', 'npm ci --omit=dev'],
  ['pnpm', 'pnpm install --frozen-lockfile --prod'],
  ['classic', 'yarn install --frozen-lockfile --production=true'],
  ['berry', 'yarn install --immutable'],
  ['bun', 'bun install --frozen-lockfile --production'],
  ['bun-binary', 'bun install --frozen-lockfile --production'],
])('%s installs production dependencies as locked, once', async (name, command) => {
  const app = await worker.createApp()
  const first = await worker.build(await worker.pushFolder(app, join(fixtures, name)))
  expect(first.deployment.stateReason).toBeNull()
  expect(first.log.join('\n')).toContain(`-----> Installing  ${command}`)
  const paths = [...(await serverPaths(first))]
  expect(paths.some((path) => path.endsWith('node_modules/ms/index.js'))).toBe(true)
  expect(paths.some((path) => path.includes('is-number'))).toBe(false)

  const second = await worker.build(await worker.pushFolder(app, join(fixtures, name)))
  expect(second.log.join('\n')).toContain(`-----> Installing  ${command} (cache hit)`)
  expect(second.manifest?.server).toEqual(first.manifest?.server)
})

test.each([
  ['npm', 'npm ci'],
  ['pnpm', 'pnpm install --frozen-lockfile'],
  ['classic', 'yarn install --frozen-lockfile'],
  ['berry', 'yarn install --immutable'],
  ['bun', 'bun install --frozen-lockfile'],
])('a build under %s has development dependencies, what it leaves has not', async (name, command) => {
  const app = await worker.createApp()
  await worker.setEnv(app, { NODE_ENV: 'production' })
  const folder = await edited(name, (pkg) => ({
    ...pkg,
    scripts: {
      build: 'node -e "console.log(require(\'is-number\')(1))"',
      postinstall: 'echo by-postinstall > made.txt',
    },
  }))
  const first = await worker.build(await worker.pushFolder(app, folder))
  expect(first.deployment.stateReason).toBeNull()
  expect(first.log.join('\n')).toContain(`-----> Installing  ${command}`)
  const paths = [...(await serverPaths(first))]
  expect(paths.some((path) => path.endsWith('node_modules/ms/index.js'))).toBe(true)
  expect(paths.some((path) => path.includes('is-number'))).toBe(false)

  const second = await worker.build(await worker.pushFolder(app, folder))
  expect(second.log.join('\n')).toContain(`-----> Installing  ${command} (cache hit)`)
  expect(second.log.join('\n')).toContain('-----> Installing  production dependencies (cache hit)')
  expect([...(await serverPaths(second))]).toContain('made.txt')
})

test.each(['pnpm', 'classic', 'berry', 'bun'])(
  'scripts call %s by name, also when nothing is installed',
  async (name) => {
    const app = await worker.createApp()
    const manager = ['classic', 'berry'].includes(name) ? 'yarn' : name
    const folder = await edited(name, (pkg) => ({
      ...pkg,
      scripts: { build: `${manager} run inner`, inner: 'echo said inside' },
    }))
    await worker.build(await worker.pushFolder(app, folder))
    const again = await worker.build(await worker.pushFolder(app, folder))
    expect(again.deployment.stateReason, again.log.join('\n')).toBeNull()
    expect(again.log.join('\n')).toContain('(cache hit)')
    expect(again.log.join('\n')).toContain('       said inside')
  },
)

test('a changed description installs nothing, a changed dependency does', async () => {
  const app = await worker.createApp()
  await worker.build(await worker.pushFolder(app, join(fixtures, 'npm')))
  const described = await edited('npm', (pkg) => ({ ...pkg, description: 'new' }))
  const same = await worker.build(await worker.pushFolder(app, described))
  expect(same.log.join('\n')).toContain('(cache hit)')

  const folder = await edited('npm', (pkg) => ({ ...pkg, dependencies: { ms: '2.1.2' } }))
  const changed = await worker.build(await worker.pushFolder(app, folder))
  expect(changed.deployment).toMatchObject({
    state: 'failed',
    errorCode: 'INSTALL_FAILED',
    stateReason:
      'install failed: package-lock.json does not match package.json; run npm install, commit package-lock.json, and push again',
  })
})

test.each([
  ['pnpm', 'pnpm-lock.yaml', 'pnpm'],
  ['classic', 'yarn.lock', 'yarn'],
  ['berry', 'yarn.lock', 'yarn'],
  ['bun', 'bun.lock', 'bun'],
])('an outdated lockfile of %s is named', async (name, lockfile, manager) => {
  const folder = await edited(name, (pkg) => ({ ...pkg, dependencies: { ms: '2.1.2' } }))
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), folder))
  expect(built.deployment.stateReason).toBe(
    `install failed: ${lockfile} does not match package.json; run ${manager} install, commit ${lockfile}, and push again`,
  )
})

test.each(['npm', 'pnpm', 'classic', 'berry', 'bun'])(
  'dependencies that %s installed are bundled into a fetch app',
  async (name) => {
    const app = await worker.createApp()
    const folder = await edited(name, (pkg) => pkg)
    await writeFile(
      join(folder, 'index.ts'),
      'import ms from "ms"\nexport default { fetch: () => new Response(String(ms(60000))) }',
    )
    await rm(join(folder, 'server.js'))
    const first = await worker.build(await worker.pushFolder(app, folder))
    expect(first.deployment.stateReason).toBeNull()
    const second = await worker.build(await worker.pushFolder(app, folder))
    expect(second.deployment.stateReason).toBeNull()
    expect(second.log.join('\n')).toContain('(cache hit)')
    expect(second.manifest?.server).toEqual(first.manifest?.server)
  },
)

test('the npm that packageManager names installs, whatever engines say of Node', async () => {
  const folder = await edited('npm', (pkg) => ({
    ...{ ...pkg, packageManager: 'npm@10.9.2', engines: { node: '20.x', npm: '^9' } },
    scripts: { start: 'node server.js', postinstall: 'echo by npm $npm_config_user_agent' },
  }))
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), folder))
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  expect(built.log.join('\n')).toContain('by npm npm/10.9.2 ')
  expect(built.log.join('\n')).toMatch(/ {7}warning: engines asks for Node 20\.x; Atelier runs Node 26/)
  expect(built.log.join('\n')).toContain('engines asks for npm ^9; npm 10.9.2 installs')
})

test.each(['npm', 'pnpm', 'classic', 'berry', 'bun'])('engines of another Node keep %s from nothing', async (name) => {
  const folder = await edited(name, (pkg) => ({ ...pkg, engines: { node: '20.x' } }))
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), folder))
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
})

test('without a lockfile npm install runs, with a warning', async () => {
  const folder = await edited('npm', (pkg) => pkg)
  await rm(join(folder, 'package-lock.json'))
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), folder))
  expect(built.deployment.stateReason).toBeNull()
  expect(built.log.join('\n')).toContain(
    'no lockfile: every build may get other versions; run npm install and commit its lockfile',
  )
  expect(built.log.join('\n')).toContain('-----> Installing  npm install --omit=dev')
})

test('a committed node_modules is installed anew, and the log says how to be rid of it', async () => {
  const built = await worker.deploy(await worker.createApp(), {
    'package.json': { scripts: { start: 'node server.js' }, dependencies: { ms: '2.1.3' } },
    'server.js': 'require("http").createServer((q, s) => s.end(require("ms")("1 h") + "")).listen(process.env.PORT)',
    'node_modules/stale/index.js': '',
  })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.log.join('\n')).toContain('git rm -r --cached node_modules')
  const paths = [...(await serverPaths(built))]
  expect(paths).toContain('node_modules/ms/index.js')
  expect(paths.filter((path) => path.includes('stale'))).toEqual([])
})

test('a package nobody has published is named', async () => {
  const folder = await edited('npm', (pkg) => ({ ...pkg, dependencies: { 'no-such-package-atelier-test': '1.0.0' } }))
  await rm(join(folder, 'package-lock.json'))
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), folder))
  expect(built.deployment.stateReason).toMatch(/^install failed: the registry has no \S*no-such-package-atelier-test/)
  expect(built.log.join('\n')).toContain('npm error code E404')
  expect(built.log.join('\n')).not.toContain(worker.home)
})

test('dependencies of one app are not another’s', async () => {
  const [one, two] = [await worker.createApp(), await worker.createApp()]
  await worker.build(await worker.pushFolder(one, join(fixtures, 'npm')))
  const built = await worker.build(await worker.pushFolder(two, join(fixtures, 'npm')))
  expect(built.log.join('\n')).not.toContain('(cache hit)')
})

test('a member of a workspace is built with what the workspace installed at its top', async () => {
  const app = await worker.createApp()
  const files = {
    'atelier.config.json': { build: { root: 'packages/web' } },
    'package.json': { private: true, workspaces: ['packages/*'] },
    'packages/lib/package.json': { name: '@acme/lib', version: '1.0.0', dependencies: { ms: '2.1.3' } },
    'packages/lib/index.js': 'module.exports = require("ms")',
    'packages/web/package.json': {
      name: 'web',
      version: '1.0.0',
      scripts: { start: 'node server.js' },
      dependencies: { '@acme/lib': '1.0.0' },
      devDependencies: { 'is-number': '7.0.0' },
    },
    'packages/web/server.js':
      'const ms = require("@acme/lib")\nrequire("http").createServer((q, s) => s.end(ms(1000))).listen(process.env.PORT)',
  }
  const built = await worker.deploy(app, files)
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.server?.entry).toBe('packages/web/server.js')
  const paths = [...(await serverPaths(built))]
  expect(paths).toContain('packages/lib/index.js')
  expect(paths).toContain('node_modules/ms/index.js')
  expect(paths.some((path) => path.includes('is-number'))).toBe(false)
  const again = await worker.deploy(app, files)
  expect(again.log.join('\n')).toContain('(cache hit)')
})

test('of packages that do not go together npm’s own words are shown, and no file of the server', async () => {
  const dependencies = { react: '18.3.1', 'react-dom': '19.0.0' }
  const built = await worker.deploy(await worker.createApp(), {
    'package.json': { dependencies, scripts: { start: 'node server.js' } },
    'server.js': '',
  })
  expect(built.deployment.stateReason).toMatch(/^install failed/)
  expect(built.log.join('\n')).toContain('ERESOLVE')
  expect(built.log.join('\n')).not.toContain(worker.home)
})

test('a member of a pnpm workspace, whose top depends on nothing itself', async () => {
  const built = await worker.deploy(await worker.createApp(), {
    'atelier.config.json': { build: { root: 'apps/web' } },
    'package.json': { private: true },
    'pnpm-workspace.yaml': 'packages:\n  - apps/*\n  - packages/*\n',
    'packages/lib/package.json': { name: '@acme/lib', version: '1.0.0', dependencies: { ms: '2.1.3' } },
    'packages/lib/index.js': 'module.exports = require("ms")',
    'apps/web/package.json': {
      scripts: { start: 'node server.js' },
      dependencies: { '@acme/lib': 'workspace:*' },
    },
    'apps/web/server.js':
      'const ms = require("@acme/lib")\nrequire("http").createServer((q, s) => s.end(ms(1000))).listen(process.env.PORT)',
  })
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  expect(built.log.join('\n')).toContain('pnpm install')
  expect(built.manifest?.server?.entry).toBe('apps/web/server.js')
})

async function edited(name: string, change: (pkg: Record<string, unknown>) => object): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'app-'))
  await cp(join(fixtures, name), folder, { recursive: true })
  const path = join(folder, 'package.json')
  await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')))))
  return folder
}

async function serverPaths({ deployment, manifest }: Built): Promise<Iterable<string>> {
  const name = { app: deployment.appId, version: deployment.version, build: manifest?.build ?? '' }
  const stream = await worker.deps.store.get(serverKey(name))
  const tree = await unpack(stream, join(scratch, deployment.id), { limits: { files: 1e4, bytes: 1e9 }, owner: null })
  return tree.paths()
}
