import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { deleteApp } from '../registry/apps.ts'
import { removePreview } from '../registry/preview-removal.ts'
import { ensureRoute } from '../registry/routes.ts'
import { leaseUser } from '../sandbox/users.ts'
import { type Built, type PushOptions, TestWorker } from '../test/support/build-worker.ts'
import { cacheFolderOf } from './standing.ts'

const worker = await TestWorker.start({ ATELIER_BUILD_CACHE_MB: '8', ATELIER_BUILD_CACHE_TOTAL_MB: '20' })
afterAll(() => worker[Symbol.asyncDispose]())
const { caches } = worker.deps

const mb = 1_048_576
const apps = join(worker.home, 'cache/apps')

/** A tool that counts its builds in a cache of its own. `after` runs at the end, in the app's folder. */
const counting = (folder: string, after = '') => ({
  'package.json': { scripts: { build: 'node make.mjs' } },
  'atelier.config.json': { build: { script: 'make.mjs', output: 'dist' } },
  'make.mjs': `import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
    const count = existsSync('${folder}/count') ? Number(readFileSync('${folder}/count', 'utf8')) + 1 : 1
    console.log('build', count)
    mkdirSync('dist', { recursive: true })
    writeFileSync('dist/index.html', 'x')
    mkdirSync('${folder}/deep', { recursive: true })
    writeFileSync('${folder}/count', String(count))
    writeFileSync('${folder}/deep/more', 'x'.repeat(1000))
    ${after}`,
})
const countOf = ({ log }: Built) => log.find((line) => /build \d+$/.test(line))?.trim()

test.each(['node_modules/.cache', 'node_modules/.vite', '.angular/cache'])(
  'what a tool keeps in %s is there in the app’s next build, of no other app, and not after a forced build',
  async (folder) => {
    const app = await worker.createApp()
    const builds = [await worker.deploy(app, counting(folder)), await worker.deploy(app, counting(folder))]
    builds.push(await worker.deploy(await worker.createApp(), counting(folder)))
    const forced = await worker.build(await worker.push(app, counting(folder), { isForced: true }))
    expect(forced.log.join('\n')).toContain('what earlier builds of the app have kept is thrown away')
    builds.push(forced, await worker.deploy(app, counting(folder)))
    expect(builds.map(({ deployment }) => deployment.stateReason)).toEqual([null, null, null, null, null])
    expect(builds.map(countOf)).toEqual(['build 1', 'build 2', 'build 1', 'build 1', 'build 2'])
    expect(await generationsOf(app)).toHaveLength(1)
  },
)

test('what came with the source is no cache', async () => {
  const app = await worker.createApp()
  const files = { ...counting('.angular/cache'), '.angular/cache/count': '5' }
  const builds = [await worker.deploy(app, files), await worker.deploy(app, files)]
  expect(builds.map(countOf)).toEqual(['build 6', 'build 6'])
})

test('a cache that is not as it was kept is thrown away with a line, and the build is well', async () => {
  const app = await worker.createApp()
  const folder = 'node_modules/.cache'
  await worker.deploy(app, counting(folder))
  const place = await frameworksOf(app)
  const [kept = ''] = (await readdir(place)).filter((name) => !name.endsWith('.json'))
  await truncate(join(place, kept, 'deep/more'), 10)
  const truncated = await worker.deploy(app, counting(folder))
  expect(truncated.log.join('\n')).toContain(`the cache of ${folder} was damaged and is thrown away`)
  expect(truncated.deployment.stateReason).toBeNull()
  expect(countOf(truncated)).toBe('build 1')

  // As a worker leaves it that was killed before it had written what is in it.
  await writeFile(join(place, `${kept}.json`), '[["cou')
  const unlisted = await worker.deploy(app, counting(folder))
  expect(countOf(unlisted)).toBe('build 1')
  expect(countOf(await worker.deploy(app, counting(folder)))).toBe('build 2')
})

test('B9 links that a build plants in its cache lead nobody anywhere, and such a cache is not kept', async () => {
  const app = await worker.createApp()
  const folder = 'node_modules/.cache'
  const before = await readFile('/etc/hostname')
  const inside = await worker.deploy(app, counting(folder, `symlinkSync('/etc', '${folder}/etc')`))
  expect(inside.log.join('\n')).toMatch(/the cache of node_modules\/\.cache is not kept: etc is a symlink to "\/etc"/)
  expect(inside.deployment.stateReason).toBeNull()
  const sly = `rmSync('${folder}', { recursive: true }); symlinkSync('/etc', '${folder}')`
  expect((await worker.deploy(app, counting(folder, sly))).deployment.stateReason).toBeNull()
  const above = `rmSync('node_modules', { recursive: true }); symlinkSync('/etc', 'node_modules')`
  expect((await worker.deploy(app, counting(folder, above))).deployment.stateReason).toBeNull()
  const last = await worker.deploy(app, counting(folder))
  expect(countOf(last)).toBe('build 1')
  expect(await readFile('/etc/hostname')).toEqual(before)
  expect(existsSync('/etc/count')).toBe(false)
})

test('two builds of one app at once are both well, and the cache is there for the next', async () => {
  const app = await worker.createApp()
  const folder = 'node_modules/.cache'
  const push = (branch: string) => worker.push(app, counting(folder), { branch })
  await worker.build(await push('pr/1'))
  const pushes = [await push('pr/1'), await push('pr/2')]
  const builds = await Promise.all(pushes.map((pushed) => worker.build(pushed)))
  expect(builds.map(({ deployment }) => deployment.stateReason)).toEqual([null, null])
  // Whoever comes while the other has it begins without; whoever comes after takes what that one left.
  for (const count of builds.map(countOf)) expect(count).toMatch(/^build [123]$/)
  expect(countOf(await worker.build(await push('pr/3')))).toMatch(/^build [234]$/)
})

test('B6 nothing that a preview’s or a fork’s build has kept or altered reaches production, nor another fork', async () => {
  const app = await worker.createApp()
  const tiny = await packageOf("module.exports = 'genuine!'")
  // Of the same length, and with the time set back to the nanosecond: by its looks nobody could tell.
  const poison = `copyFileSync(file, 'before'); execFileSync('touch', ['-r', file, 'before'])
    writeFileSync(file, "module.exports = 'poisoned'"); execFileSync('touch', ['-r', 'before', file])
    mkdirSync('node_modules/.cache', { recursive: true }); writeFileSync('node_modules/.cache/planted', '')
    writeFileSync(join(process.env.npm_config_cache, '../planted'), '')`
  const deploy = async (options: PushOptions, after = '') => {
    const files = {
      'package.json': { dependencies: { tiny: 'file:tiny-1.0.0.tgz' } },
      'tiny-1.0.0.tgz': tiny,
      'atelier.config.json': { build: { script: 'make.mjs', output: 'dist' } },
      'make.mjs': `import { execFileSync } from 'node:child_process'
        import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
        import { join } from 'node:path'
        const file = 'node_modules/tiny/index.js'
        const places = ['node_modules/.cache/planted', join(process.env.npm_config_cache, '../planted')]
        console.log('tiny is', readFileSync(file, 'utf8'), places.filter((place) => existsSync(place)).length, 'planted')
        mkdirSync('dist', { recursive: true })
        writeFileSync('dist/index.html', 'x')
        ${after}`,
    }
    const { log, deployment } = await worker.build(await worker.push(app, files, options))
    expect(deployment.stateReason, log.join('\n')).toBeNull()
    const said = log.join('\n')
    return `${said.includes('(cache hit)') ? 'kept' : 'new'}, ${/tiny is .*'(.*)' (\d) planted/.exec(said)?.slice(1, 3)}`
  }
  const preview = { branch: 'pr/1' }
  const fork = { branch: 'pr/2', isFork: true }
  const otherFork = { branch: 'pr/3', isFork: true }
  expect(await deploy({})).toBe('new, genuine!,0')
  expect(await deploy({})).toBe('kept, genuine!,0')
  expect(await deploy(preview, poison)).toBe('new, genuine!,0')
  expect(await deploy(preview)).toBe('kept, poisoned,2')
  expect(await deploy({ branch: 'other' })).toBe('kept, poisoned,2')
  expect(await deploy(fork, poison)).toBe('new, genuine!,0')
  expect(await deploy(fork)).toBe('kept, poisoned,2')
  expect(await deploy(otherFork)).toBe('new, genuine!,0')
  expect(await deploy({})).toBe('kept, genuine!,0')
})

test('a cache that is larger than an app may keep is not kept, and says so', async () => {
  const app = await worker.createApp()
  const large = `writeFileSync('node_modules/.cache/large', Buffer.alloc(${9 * mb}, 'x'))`
  const built = await worker.deploy(app, counting('node_modules/.cache', large))
  expect(built.log.join('\n')).toContain('the cache of node_modules/.cache is larger than 8 MB and is not kept')
  expect(await readdir(await frameworksOf(app))).toEqual([])
})

test('above what an app may keep the entries used least recently go, when no build of it is under way', async () => {
  const app = await worker.createApp()
  const { use, modules } = await opened(app)
  for (const [at, name] of ['old', 'middle', 'new'].entries()) await entry(join(modules, name), 4, at)
  const other = await opened(app)
  await use[Symbol.asyncDispose]()
  await caches.trim()
  expect((await readdir(modules)).sort()).toEqual(['middle', 'new', 'old'])
  await other.use[Symbol.asyncDispose]()
  expect((await readdir(modules)).sort()).toEqual(['middle', 'new'])
})

test('what forks have left goes before what is the app’s own, however recently it was used', async () => {
  const app = await worker.createApp()
  const { use, modules } = await opened(app)
  const user = await leaseUser(worker.deps.config, { purpose: 'build', app: `${app}+fork` })
  const target = { environment: 'preview', branch: 'pr/1', label: `${app}-pr-1` } as const
  await ensureRoute(worker.deps.sql, app, target, { isFork: true })
  const fork = await caches.use(app, { standing: { kind: 'fork', of: `${app}-pr-1` }, user, afresh: false })
  await entry(join(modules, 'own'), 5, 1)
  await entry(join(fork.modules, 'forks'), 5, 2)
  await use[Symbol.asyncDispose]()
  await fork[Symbol.asyncDispose]()
  expect([existsSync(join(modules, 'own')), existsSync(join(fork.modules, 'forks'))]).toEqual([true, false])
})

test('the caches of a fork go with its preview, and no others', async () => {
  const app = await worker.createApp()
  const route = (number: number) => ({
    environment: 'preview' as const,
    branch: `pr/${number}`,
    label: `${app}-pr-${number}`,
  })
  const user = await leaseUser(worker.deps.config, { purpose: 'build', app: `${app}+fork` })
  for (const number of [1, 2]) {
    await ensureRoute(worker.deps.sql, app, route(number), { isFork: true })
    const use = await caches.use(app, { standing: { kind: 'fork', of: route(number).label }, user, afresh: false })
    await use[Symbol.asyncDispose]()
  }
  const forks = async () => (await readdir(join(apps, app))).filter((name) => name.startsWith('fork-'))
  await caches.trim()
  expect(await forks()).toHaveLength(2)
  await removePreview(worker.deps.sql, { app, branch: 'pr/1', by: 'ada' })
  await ensureRoute(worker.deps.sql, app, route(1))
  await caches.trim()
  expect(await forks()).toEqual([cacheFolderOf({ kind: 'fork', of: route(2).label })])
})

test('caches of an app from before those of previews lay apart go', async () => {
  const app = await worker.createApp()
  await mkdir(join(apps, app, 'g01234567/modules/key'), { recursive: true })
  await caches.trim()
  expect(existsSync(join(apps, app))).toBe(true)
  expect(existsSync(join(apps, app, 'g01234567'))).toBe(false)
})

test('above what all apps may keep together it is the same, whoever’s they are', async () => {
  const names = ['first', 'second', 'third', 'fourth']
  const places = await Promise.all(names.map(async () => opened(await worker.createApp())))
  for (const [at, { modules }] of places.entries()) await entry(join(modules, 'kept'), 7, at + 100)
  for (const { use } of places) await use[Symbol.asyncDispose]()
  expect(places.map(({ modules }) => existsSync(join(modules, 'kept')))).toEqual([false, false, true, true])
})

test('what a worker that was killed left half made goes when the next one starts, and nothing else', async () => {
  const app = await worker.createApp()
  const folder = 'node_modules/.cache'
  await worker.deploy(app, counting(folder))
  const { use, modules } = await opened(app)
  await use[Symbol.asyncDispose]()
  await mkdir(join(modules, '.making-x'), { recursive: true })
  await mkdir(join(await frameworksOf(app), 'half'))
  await caches.sweep()
  expect(existsSync(join(modules, '.making-x'))).toBe(false)
  expect(await readdir(await frameworksOf(app))).not.toContain('half')
  expect(countOf(await worker.deploy(app, counting(folder)))).toBe('build 2')
})

test('the caches of an app that is gone go', async () => {
  const app = await worker.createApp()
  await worker.deploy(app, counting('node_modules/.cache'))
  expect(existsSync(join(apps, app))).toBe(true)
  await deleteApp(worker.deps.sql, app)
  await caches.trim()
  expect(existsSync(join(apps, app))).toBe(false)
})

test('caches that are thrown away stay whole for a build that has them', async () => {
  const app = await worker.createApp()
  const before = await opened(app)
  await entry(join(before.modules, 'kept'), 1, 1)
  const user = await leaseUser(worker.deps.config, { purpose: 'build', app })
  const afresh = await caches.use(app, { standing: { kind: 'production' }, user, afresh: true })
  expect(afresh.modules).not.toBe(before.modules)
  await afresh[Symbol.asyncDispose]()
  expect(existsSync(join(before.modules, 'kept/file'))).toBe(true)
  await before.use[Symbol.asyncDispose]()
  expect(existsSync(before.modules)).toBe(false)
  expect(existsSync(afresh.downloads)).toBe(true)
})

async function opened(app: string) {
  const user = await leaseUser(worker.deps.config, { purpose: 'build', app })
  const use = await caches.use(app, { standing: { kind: 'production' }, user, afresh: false })
  return { use, modules: use.modules }
}

async function entry(place: string, megabytes: number, usedAt: number): Promise<void> {
  await mkdir(place, { recursive: true })
  await writeFile(join(place, 'file'), Buffer.alloc(megabytes * mb, 'x'))
  await utimes(place, usedAt, usedAt)
}

async function packageOf(text: string): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'package-'))
  try {
    await mkdir(join(folder, 'package'))
    await writeFile(join(folder, 'package/package.json'), JSON.stringify({ name: 'tiny', version: '1.0.0' }))
    await writeFile(join(folder, 'package/index.js'), text)
    const tar = await promisify(execFile)('tar', ['-cz', '-C', folder, 'package'], { encoding: 'buffer' })
    return tar.stdout
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function generationsOf(app: string): Promise<string[]> {
  return (await readdir(join(apps, app, 'production'))).filter((name) => /^g[0-9a-f]{32}$/.test(name))
}

async function frameworksOf(app: string): Promise<string> {
  return join(apps, app, 'production', (await generationsOf(app))[0] ?? '', 'frameworks')
}
