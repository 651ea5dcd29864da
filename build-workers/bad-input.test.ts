import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type Built, type TestFiles, TestWorker } from '../test/support/build-worker.ts'

const worker = await TestWorker.start({
  ATELIER_BUILD_LOG_MB: '1',
  ATELIER_BUILD_DISK_MB: '50',
  ATELIER_BUILD_MEMORY_MB: '300',
})
const hasty = await TestWorker.start({ ATELIER_BUILD_TIMEOUT_SEC: '2' })
afterAll(() => Promise.all([worker[Symbol.asyncDispose](), hasty[Symbol.asyncDispose]()]))

const script = (command: string) => ({ 'atelier.config.json': { build: { script: command } } })
const config = (code: string) => ({ 'index.html': '', 'atelier.config.ts': code })
const server = (code: string) => ({
  'server.js': `${code}\n;require("http").createServer((q, s) => s.end("hi")).listen(process.env.PORT)`,
})

type Case = [name: string, files: TestFiles, code: string, reason: string | RegExp, log?: string[]]

test.each<Case>([
  [
    'a config that throws',
    config('const a: number = 1\nthrow new Error("no luck")'),
    'CONFIG_INVALID',
    'atelier.config.ts: it threw Error: no luck (atelier.config.ts:2:7)',
  ],
  [
    'a config that cannot be parsed',
    config('export default {'),
    'CONFIG_INVALID',
    /^atelier\.config\.ts: it threw SyntaxError: /,
  ],
  [
    'a config that exits',
    config('process.exit(0)'),
    'CONFIG_INVALID',
    'atelier.config.ts: it ended before it had exported its settings',
  ],
  [
    'a config without an export',
    config('export const a = 1'),
    'CONFIG_INVALID',
    'atelier.config.ts: it has no default export; write: export default { … }',
  ],
  [
    'a config that needs a dependency',
    config('import x from "left-pad"\nexport default {}'),
    'CONFIG_INVALID',
    /^atelier\.config\.ts: it imports left-pad; it is read before/,
  ],
  [
    'a config that exports code',
    config('export default { build: { env: { A: () => 1 } }, hooks: { preBuild: new Date(0) } }'),
    'CONFIG_INVALID',
    'atelier.config.ts: build.env.A: must be a plain value, not a function (and 1 more in the log)',
    ['  hooks.preBuild: must be a plain value, not a Date'],
  ],
  [
    'a config with wrong types',
    config(
      'console.log("{}"); export default { deployments: { canary: { stages: [5, 50, 25] } }, build: { entri: 1 } }',
    ),
    'CONFIG_INVALID',
    'atelier.config.ts: build.entri: there is no such setting; did you mean entry? (and 1 more in the log)',
    ['deployments.canary.stages[2]: must be greater than the stage before (50)'],
  ],
  [
    'a config that says it all itself',
    config('import { writeSync } from "node:fs"\nwriteSync(3, "garbage\\n")\nexport default {}'),
    'CONFIG_INVALID',
    'atelier.config.ts: it ended before it had exported its settings',
  ],
  [
    'two configs',
    { 'index.html': '', 'atelier.config.json': {}, 'atelier.config.js': '' },
    'CONFIG_INVALID',
    'there are atelier.config.js and atelier.config.json; keep one of them',
  ],
  ['a config that is no JSON', { 'atelier.config.json': '{ build }' }, 'CONFIG_INVALID', /^atelier\.config\.json: /],
  [
    'no recognisable app',
    { 'README.md': 'hi' },
    'FRAMEWORK_UNKNOWN',
    /^no kind of app was recognised; say what to run/,
    ['looked for:', 'an index.html in the top folder, public/ or dist/'],
  ],
  [
    'an entry that is missing',
    { 'src/main.js': '', 'atelier.config.json': { build: { entry: 'src/main.ts' } } },
    'ENTRY_NOT_FOUND',
    /did you mean src\/main\.js\?$/,
  ],
  [
    'a root that is missing',
    { 'atelier.config.json': { build: { root: 'apps/web' } } },
    'ENTRY_NOT_FOUND',
    'build.root in atelier.config is apps/web, and there is no such folder',
  ],
  [
    'a build that fails',
    { 'package.json': { scripts: { build: 'echo working; exit 3', start: 'node x.js' } }, 'x.js': '' },
    'BUILD_FAILED',
    'build failed: echo working; exit 3 exited with 3',
    ['working'],
  ],
  [
    'a script that fails',
    script('echo oh no >&2; false'),
    'BUILD_FAILED',
    'build failed: echo oh no >&2; false exited with 1',
    ['       oh no'],
  ],
  ['a script that is not there', script('make-everything'), 'BUILD_FAILED', /make-everything was not found$/],
  [
    'a script that leaves no output',
    script('true'),
    'BUILD_FAILED',
    'build failed: true left no folder dist; set build.output to the folder it writes, or build.entry to the program',
  ],
  [
    'a script that leaves no page',
    script('mkdir -p dist/browser; touch dist/browser/index.html'),
    'OUTPUT_INVALID',
    /^there is no index\.html in dist; browser\/index\.html is/,
  ],
  [
    'a build that fills the disk',
    script('while true; do dd if=/dev/zero of=f$i bs=1M count=20 2>/dev/null; i=x$i; done'),
    'BUILD_LIMIT',
    /wrote more than 50 MB to disk \(ATELIER_BUILD_DISK_MB on the server\)$/,
  ],
  [
    'a build that prints without end',
    script('yes'),
    'BUILD_LIMIT',
    'build stopped: yes printed more than 1 MB (ATELIER_BUILD_LOG_MB on the server)',
  ],
  [
    'a build that eats memory',
    script('node -e "const a = []; for (;;) a.push(Buffer.alloc(1e7, 1))"'),
    'BUILD_LIMIT',
    /used more than 300 MB of memory \(ATELIER_BUILD_MEMORY_MB on the server\)$/,
  ],
  [
    'a hook that fails',
    { 'index.html': '', 'atelier.config.json': { build: { script: 'true' }, hooks: { preBuild: 'exit 7' } } },
    'HOOK_FAILED',
    'hook preBuild exited with 7',
  ],
  [
    'a hook that hangs',
    { 'atelier.config.json': { build: { script: 'true' }, hooks: { preBuild: 'sleep 9', timeoutSec: 1 } } },
    'HOOK_FAILED',
    'hook preBuild did not end within 1 s (hooks.timeoutSec)',
  ],
  [
    'an import that leads nowhere',
    { 'index.ts': 'import { x } from "./nothing"\nexport default { fetch: x }' },
    'BUILD_FAILED',
    'build failed: index.ts:1:18: Could not resolve "./nothing"',
  ],
  [
    'an import of a host file',
    { 'index.ts': 'import x from "/etc/shadow"\nexport default { fetch: x }' },
    'BUILD_FAILED',
    /^build failed: /,
  ],
  [
    'an app that does not listen',
    { 'package.json': { scripts: { start: 'node main.js' } }, 'main.js': 'console.error("all done")' },
    'APP_NOT_LISTENING',
    'node main.js exited with 0 before it listened',
    ['all done'],
  ],
  [
    'an app that crashes at boot',
    server('console.error("getting ready"); throw new Error("no way")'),
    'APP_CRASHED',
    /^node server\.js exited with 1: .*no way/,
    ['getting ready'],
  ],
  [
    'an app without its variable',
    server('if (!process.env.DATABASE_URL) throw new Error("DATABASE_URL is not set")'),
    'APP_CRASHED',
    /DATABASE_URL is not set/,
  ],
  ['an app without its module', server('require("left-pad")'), 'APP_CRASHED', /module not found: left-pad/],
  [
    'a fetch app that has no fetch',
    { 'index.ts': 'export default { fetsh() {} }', 'atelier.config.json': { build: { entry: 'index.ts' } } },
    'APP_CRASHED',
    /./,
  ],
  [
    'an app that answers 500',
    {
      'server.js':
        'require("http").createServer((q, s) => { console.error("at the wall"); s.statusCode = 500; s.end("<b>broken</b> inside") }).listen(process.env.PORT)',
    },
    'APP_UNHEALTHY',
    'GET / answered 500 (broken inside); a healthy app (node server.js) answers below 500; another path can be set with deployments.healthCheck.path',
    ['at the wall'],
  ],
  [
    'an app whose health path is not there',
    {
      'atelier.config.json': { deployments: { healthCheck: { path: '/health' } } },
      'server.js':
        'require("http").createServer((q, s) => { s.statusCode = q.url === "/" ? 200 : 404; s.end() }).listen(80)',
    },
    'APP_UNHEALTHY',
    'GET /health answered 404; a healthy app (node server.js) answers 2xx or 3xx',
  ],
  [
    'a symlink out of the output',
    script('mkdir dist; touch dist/index.html; ln -s /etc/passwd dist/me'),
    'OUTPUT_INVALID',
    'me is a symlink to "/etc/passwd", outside what is published; it cannot be published',
  ],
  ['an output that is a symlink', script('ln -s /etc dist'), 'BUILD_FAILED', /left no folder dist/],
  [
    'a pipe in the output',
    script('mkdir dist; mkfifo dist/pipe'),
    'OUTPUT_INVALID',
    'pipe is a pipe; it cannot be published',
  ],
  [
    'a setuid file in the output',
    script('mkdir dist; touch dist/s; chmod 4755 dist/s'),
    'OUTPUT_INVALID',
    's is a setuid or setgid file; it cannot be published',
  ],
  [
    'a name with a line break in the output',
    script('mkdir dist; touch "dist/a\nb"'),
    'OUTPUT_INVALID',
    'a\\nb has a name with a control character or backslash; it cannot be published',
  ],
  [
    'a file of 2 GB in the output',
    script('mkdir dist; touch dist/index.html; truncate -s 2G dist/big'),
    'BUILD_LIMIT',
    /wrote more than 50 MB to disk \(ATELIER_BUILD_DISK_MB on the server\)$/,
  ],
  [
    'a hundred thousand files in the output',
    script('mkdir dist; cd dist; touch index.html; seq 100001 | xargs touch'),
    'OUTPUT_INVALID',
    'the build left more than 100000 static files',
  ],
  [
    'a hard link in the output',
    script('mkdir dist; touch dist/index.html; echo x > other; ln other dist/copy'),
    'OUTPUT_INVALID',
    'copy is a hard link to a file outside what is published; it cannot be published',
  ],
])('%s', async (_, files, code, reason, log = []) => {
  const built = await worker.deploy(await worker.createApp(), files)
  expect({ code: built.deployment.errorCode, reason: built.deployment.stateReason }).toEqual({
    code,
    reason: typeof reason === 'string' ? reason : expect.stringMatching(reason),
  })
  expect(built.deployment).toMatchObject({ state: 'failed', buildId: null })
  const shown = built.log.join('\n')
  for (const words of [...log, `-----> Failed      ${built.deployment.stateReason}`]) expect(shown).toContain(words)
  expectNothingLeft(built)
})

test('a config that loops is ended', async () => {
  const built = await worker.deploy(await worker.createApp(), config('for (;;);'))
  const stateReason = 'atelier.config.ts did not end within 10 s (it may only export settings)'
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'CONFIG_INVALID', stateReason })
  expectNothingLeft(built)
})

test('a build that hangs is ended with all it started', async () => {
  const built = await hasty.deploy(await hasty.createApp(), script('sleep 1000 & sleep 1000'))
  const stateReason =
    'build stopped: sleep 1000 & sleep 1000 was still running when the build had taken 2 s (ATELIER_BUILD_TIMEOUT_SEC on the server)'
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'BUILD_LIMIT', stateReason })
  expect(existsSync(join(hasty.home, 'builds', built.deployment.id))).toBe(false)
})

test('a build that fills its home is ended too', async () => {
  const filling = 'cd; while true; do dd if=/dev/zero of=f$i bs=1M count=20 2>/dev/null; i=x$i; done'
  const built = await worker.deploy(await worker.createApp(), script(filling))
  expect(built.deployment.stateReason).toMatch(/wrote more than 50 MB to disk/)
})

test('a daemon that leaves its session is gone with the build', async () => {
  const built = await worker.deploy(
    await worker.createApp(),
    script('mkdir dist; touch dist/index.html; setsid sh -c "(sleep 300 &) ; sleep 300" >/dev/null 2>&1 & true'),
  )
  expect(built.deployment.stateReason).toBeNull()
  expectNothingLeft(built)
})

test('folders that are closed to everybody are removed all the same', async () => {
  const closing =
    'mkdir -p dist closed/inside; touch dist/index.html closed/inside/file; chmod 0 closed/inside; chmod 500 closed'
  const built = await worker.deploy(await worker.createApp(), script(closing))
  expect(built.deployment.stateReason).toBeNull()
  expectNothingLeft(built)
})

test('escape sequences in the log are taken out', async () => {
  const built = await worker.deploy(
    await worker.createApp(),
    script('printf "a\\033]0;title\\007b\\033[2Jc\\033[31mred\\033[0m\\n"; false'),
  )
  expect(built.log.join('\n')).toContain('abc\x1b[31mred\x1b[0m')
})

function expectNothingLeft({ deployment }: Built): void {
  expect(existsSync(join(worker.home, 'builds', deployment.id))).toBe(false)
}
