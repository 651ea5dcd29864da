import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import type { CommandResult } from './support/command.ts'
import { expectSoundHistory } from './support/history.ts'
import { connectToHome } from './support/platform-database.ts'
import type { Files, Repo } from './support/repo.ts'

test.override('platformEnv', {
  ATELIER_BUILD_CONCURRENCY: '4',
  ATELIER_BUILD_TIMEOUT_SEC: '9',
  ATELIER_BUILD_DISK_MB: '40',
  ATELIER_PUSH_MAX_MB: '2',
})

type Refusal = [what: string, files: Files, reason: string, log?: string[]]

const config = (settings: object): Files => ({ 'atelier.config.json': JSON.stringify(settings) })
const server = (code: string): Files => ({
  'server.js': `const http = require('http')\n${code}\nhttp.createServer((q, s) => s.end('hi')).listen(process.env.PORT)\n`,
})

// Each is pushed on top of a version that is live. What git shows names the thing and what to do; the live version stays.
const refusals: Refusal[] = [
  [
    'a config that throws',
    { 'atelier.config.ts': 'throw new Error("no luck")' },
    'atelier.config.ts: it threw Error: no luck (atelier.config.ts:1:7)',
  ],
  [
    'a config with wrong types',
    { 'atelier.config.ts': 'export default { build: { entri: "a.ts" }, deployments: { keepVersions: "ten" } }' },
    'atelier.config.ts: build.entri: there is no such setting; did you mean entry? (and 1 more in the log)',
    ["deployments.keepVersions: must be a number, not 'ten'"],
  ],
  [
    'no recognisable app',
    { 'README.md': 'hi' },
    'no kind of app was recognised; say what to run in atelier.config.ts: export default { build: { entry: "src/index.ts" } }',
    ['looked for:', '- an index.html in the top folder, public/ or dist/'],
  ],
  [
    'an entry that is missing',
    { 'src/main.js': '', ...config({ build: { entry: 'src/main.ts' } }) },
    'build.entry in atelier.config is src/main.ts, and there is no such file; did you mean src/main.js?',
  ],
  [
    'a build that fails',
    config({ build: { script: 'echo oh no >&2; false' } }),
    'build failed: echo oh no >&2; false exited with 1',
    ['       oh no'],
  ],
  [
    'a lockfile that disagrees with package.json',
    {
      'package.json': '{"name":"locked","dependencies":{"ms":"2.1.3"},"scripts":{"start":"node server.js"}}',
      'package-lock.json':
        '{"name":"locked","lockfileVersion":3,"packages":{"":{"name":"locked","dependencies":{"ms":"2.1.2"}},"node_modules/ms":{"version":"2.1.2"}}}',
      ...server(''),
    },
    'install failed: package-lock.json does not match package.json; run npm install, commit package-lock.json, and push again',
  ],
  [
    'a build that fills the disk',
    config({ build: { script: 'while true; do dd if=/dev/zero of=f$i bs=1M count=20 2>/dev/null; i=x$i; done' } }),
    'build stopped: build.script wrote more than 40 MB to disk (ATELIER_BUILD_DISK_MB on the server)',
  ],
  [
    'an app that needs a database',
    server('new URL(process.env.DATABASE_URL)'),
    'node server.js exited with 1: DATABASE_URL is not set (Invalid URL); set it: atelier env set DATABASE_URL=…',
  ],
  [
    'an app that crashes at boot',
    server('throw new Error("no way")'),
    'node server.js exited with 1: Error: no way',
    ['at Object.<anonymous> (server.js:2:7)'],
  ],
  [
    'an app that answers 500 at /',
    { 'server.js': "require('http').createServer((q, s) => { s.statusCode = 500; s.end('broken') }).listen(80)\n" },
    'GET / answered 500 (broken); a healthy app (node server.js) answers below 500; another path can be set with deployments.healthCheck.path',
  ],
  [
    'a push that is too large',
    { 'index.html': '', 'film.bin': randomBytes(3_000_000) },
    "the push is larger than 2 MB, this server's limit (ATELIER_PUSH_MAX_MB)",
  ],
]

const slowRefusals: Refusal[] = [
  [
    'loops',
    { 'atelier.config.ts': 'for (;;);' },
    'build stopped: atelier.config.ts was still running when the build had taken 9 s (ATELIER_BUILD_TIMEOUT_SEC on the server)',
  ],
  [
    'hangs',
    config({ build: { script: 'sleep 1000 & sleep 1000' } }),
    'build stopped: sleep 1000 & sleep 1000 was still running when the build had taken 9 s (ATELIER_BUILD_TIMEOUT_SEC on the server)',
  ],
  [
    'is-deaf',
    { 'server.js': 'setInterval(() => {}, 1000) // instead of .listen(80)\n' },
    'node server.js runs, but did not call listen() within 30 s; start an HTTP server on process.env.PORT',
  ],
]

test.afterEach(({ task, atelier }) => expectNothingLeft(atelier, task.name))

test.for(refusals)('%s is refused, and what was live stays', async ([, files, reason, log = []], { atelier }) => {
  const { app, repo } = await liveApp(atelier)
  const pushed = await push(repo, files)
  expectRefused(pushed, reason)
  for (const words of log) expect(pushed.stderr).toContain(words)
  expect((await atelier.get(app, '/')).body).toBe('good')
})

test('a config that loops, a build that hangs and an app that does not listen are ended', async ({ atelier }) => {
  const pushes = slowRefusals.map(async ([name, files, reason]) => {
    const { app, repo } = await liveApp(atelier, name)
    expectRefused(await push(repo, files), reason)
    expect((await atelier.get(app, '/')).body).toBe('good')
  })
  await Promise.all(pushes)
})

test('an app that crashes later fails the request it crashed in, and comes back by itself', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('fragile'))
  await repo.commit({
    'server.js':
      "require('http').createServer((q, s) => q.url === '/crash' ? setImmediate(() => { throw new Error('oh') }) : s.end('up')).listen(80)\n",
  })
  await repo.push()
  expect((await atelier.get('fragile', '/crash')).status).toBe(502)
  await expect.poll(() => atelier.get('fragile', '/')).toMatchObject({ status: 200, body: 'up' })
  await expect
    .poll(async () => (await atelier.cli(['logs', 'fragile'])).stdout)
    .toMatch(/Error: oh\n(.*\n)*.*server\.js:1:/)
})

test('a folder that is no repository, and none that says which app it is', async ({ atelier }) => {
  const cwd = await atelier.directory({ 'index.html': 'hi' })
  expectFailed(await atelier.cli(['link', 'site'], { cwd }), [
    'this folder is not a git repository; make it one with: git init',
  ])
  expectFailed(await atelier.cli(['deploy'], { cwd }), ['atelier link', '--app <app>'], 2)
  expectFailed(await atelier.cli(['deploy', 'nowhere', '--app', 'site'], { cwd }), ['nowhere is not a folder'], 2)
  expect(await appNames(atelier)).not.toContain('site')
})

test('no token, a wrong token, the token of another app', async ({ atelier }) => {
  const { app, repo } = await liveApp(atelier)
  await atelier.createApp('secret-plans')
  const created = await atelier.cli(['tokens', 'create', `of-${app}`, '--app', app, '--scope', 'deploy'])
  const pushWith = async (token: string, to: string) => {
    const url = new URL(await atelier.gitUrl(to))
    url.password = token
    if (!token) url.username = ''
    return repo.tryGit('push', url.href, 'HEAD:main')
  }
  await repo.commit({ 'index.html': 'bad' })

  expect(await pushWith('', app)).toMatchObject({
    code: 128,
    stderr: expect.stringContaining('could not read Username'),
  })
  expect(await pushWith('atl_wrong', app)).toMatchObject({
    code: 128,
    stderr: expect.stringMatching(/^remote: This token is not known here, or it has expired; .*atelier link/),
  })
  const foreign = await pushWith(created.stdout.trim(), 'secret-plans')
  const absent = await pushWith(created.stdout.trim(), 'not-there')
  expect(foreign).toMatchObject({ code: 128, stderr: expect.stringContaining('or this token may not see it') })
  expect(foreign.stderr.replaceAll('secret-plans', 'not-there')).toBe(absent.stderr)
  expect((await atelier.get(app, '/')).body).toBe('good')
  expect(await appNames(atelier)).not.toContain('not-there')

  const as = (token: string) => ({
    ATELIER_URL: `http://localhost:${atelier.port}`,
    ATELIER_TOKEN: token,
    ATELIER_HOME: '/nowhere',
  })
  const rollback = (token: string) => atelier.cli(['rollback', '--app', 'secret-plans'], { env: as(token) })
  expectFailed(await rollback(''), ['there is no token', 'atelier login'])
  expectFailed(await rollback('atl_wrong'), ['does not accept this token', 'atelier login'])
  expectFailed(await rollback(created.stdout.trim()), ['there is no app secret-plans; see: atelier apps'])

  expect((await pushWith(created.stdout.trim(), app)).code).toBe(0)
})

test('going back to a version that never was, was never live, or is no longer kept', async ({ atelier }) => {
  const { app, repo } = await liveApp(atelier)
  const rollback = (version?: string) =>
    atelier.cli(['rollback', ...(version ? [version] : [])], { cwd: repo.directory })
  const oldest = await headOf(repo)
  expectFailed(await rollback(), [`${app} has no earlier live version`, 'atelier deploys'])
  expectFailed(await rollback('abcdef1'), [`${app} keeps no version abcdef1; see: atelier deploys --app ${app}`])
  expectFailed(await rollback('lately'), ['"lately" is no version: use a git SHA'])
  await push(repo, { 'README.md': 'hi' })
  expectFailed(await rollback('v2'), ['was never live (it is failed)', `atelier deploys --app ${app}`])

  await repo.git('reset', '--quiet', '--hard', oldest)
  await repo.commit({ 'index.html': 'newest', ...config({ deployments: { keepVersions: 1 } }) })
  // A rollout that is still watched keeps what it may go back to.
  await repo.push('--push-option=canary=skip')
  await pruneAll(atelier, app)
  expectFailed(await rollback(oldest.slice(0, 7)), [
    `${app} no longer keeps ${oldest.slice(0, 7)} (v1); kept ones: atelier deploys --app ${app}; or push that commit again`,
  ])
  expect((await atelier.get(app, '/')).body).toBe('newest')
})

test('a name that is taken or cannot be one, and a push option that is none', async ({ atelier }) => {
  const { app, repo } = await liveApp(atelier)
  const before = await appNames(atelier)
  expectFailed(await atelier.cli(['apps', 'create', app]), [`there is an app called ${app} already`, 'atelier link'])
  expectFailed(await atelier.cli(['apps', 'create', 'x-pr-1']), [
    '"x-pr-1" cannot be an app name',
    'belong to previews',
  ])
  expectFailed(await atelier.cli(['apps', 'create', 'Bad_Name']), ['1 to 38 of a-z, 0-9 and -, a letter first'])
  for (const name of ['x-pr-1', 'Bad_Name']) {
    const pushed = await repo.tryGit('push', await atelier.gitUrl(name), 'HEAD:main')
    expect(pushed).toMatchObject({
      code: 128,
      stderr: expect.stringContaining(`remote: "${name}" cannot be an app name`),
    })
  }
  expect(await appNames(atelier)).toEqual(before)

  await repo.commit({ 'index.html': 'bad' })
  expectRefused(
    await repo.tryPush('--push-option=frobnicate'),
    'unknown push option "frobnicate"; there are: canary=skip, follow, force-build, unlock',
  )
  expect((await atelier.get(app, '/')).body).toBe('good')
})

test('after all of this the history is sound', ({ atelier }) => expectSoundHistory(atelier, []))

async function liveApp(atelier: Atelier, name?: string): Promise<{ app: string; repo: Repo }> {
  const app = await atelier.createApp(name)
  const repo = await atelier.clone(app)
  await repo.commit({ 'index.html': 'good' })
  await repo.push()
  return { app: app.name, repo }
}

/** Pushes these files instead of all there were. */
async function push(repo: Repo, files: Files): Promise<CommandResult> {
  await repo.commit({ 'index.html': null, ...files })
  return repo.tryPush()
}

/** git's own line carries the reason, once, and nothing else in it speaks of an error of the server's. */
function expectRefused({ code, stderr }: CommandResult, reason: string): void {
  expect(stderr).toContain(` ! [remote rejected] main -> main (${reason})\n`)
  expect(code).toBe(1)
  expect(stderr).not.toMatch(/fatal:|something broke|\bat .*\/(registry|git-gateway|build-workers)\//i)
}

function expectFailed(result: CommandResult, words: string[], code = 1): void {
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toMatch(/^atelier: .+\n$/)
  for (const part of words) expect(result.stderr).toContain(part)
}

async function headOf(repo: Repo): Promise<string> {
  return (await repo.git('rev-parse', 'HEAD')).stdout.trim()
}

async function appNames(atelier: Atelier): Promise<unknown> {
  const { apps } = JSON.parse((await atelier.cli(['apps', '--json'])).stdout)
  return apps.map(({ id }: { id: string }) => id)
}

// Old enough to go, and the registry tidies when it starts.
async function pruneAll(atelier: Atelier, app: string): Promise<void> {
  const sql = await connectToHome(atelier.home)
  try {
    await sql`update builds set created_at = created_at - interval '1 hour' where app_id = ${app}`
    await atelier.kill('registry')
    await expect.poll(() => sql`select from builds where app_id = ${app} and pruned_at is not null`).toHaveLength(1)
    await expect.poll(async () => (await atelier.cli(['status'])).code).toBe(0)
  } finally {
    await sql.end()
  }
}

async function expectNothingLeft({ home }: Atelier, after: string): Promise<void> {
  await expect
    .poll(async () => ({ builds: await readdir(join(home, 'builds')), tmp: await readdir(join(home, 'store/tmp')) }), {
      message: after,
    })
    .toEqual({ builds: [], tmp: [] })
}
