import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, describe, expect, test } from 'vitest'
import { blobKey } from '../registry/bundle-store/keys.ts'
import { codeOf } from '../registry/errors.ts'
import { leaseUser } from '../sandbox/users.ts'
import { type Built, TestWorker } from '../test/support/build-worker.ts'

const small = { ATELIER_BUILD_LOG_MB: '1', ATELIER_BUILD_DISK_MB: '60', ATELIER_BUILD_MEMORY_MB: '300' }
const worker = await TestWorker.start(small)
const hasty = await TestWorker.start({ ...small, ATELIER_BUILD_TIMEOUT_SEC: '4' })
afterAll(() => Promise.all([worker[Symbol.asyncDispose](), hasty[Symbol.asyncDispose]()]))

const page = 'mkdir -p dist; echo hi > dist/index.html'
const script = (command: string) => ({ 'atelier.config.json': { build: { script: command } } })

const eatsMemory = `node -e "const all = []; for (let at = 0; at < 800; at++) all.push(Buffer.alloc(1e7, 1))"`
const forks = `node -e "
  const { spawn } = require('node:child_process')
  let started = 0
  const more = () => spawn('sleep', ['1000'], { stdio: 'ignore' })
    .on('spawn', () => { started += 1; if (started === 2000) process.exit(0); more() })
    .on('error', (error) => { console.log('no more after', started, error.code); process.exit(1) })
  more()
"`

describe('B4 a build that', () => {
  test.each<[string, TestWorker, string, RegExp | string]>([
    ['starts programs without end', worker, forks, /exited with 1$/],
    ['is a fork bomb in a shell', hasty, 'bomb() { bomb | bomb & }; bomb; sleep 1000', /build (failed|stopped): /],
    ['takes eight gigabytes', worker, eatsMemory, /used more than 300 MB of memory/],
    ['fills the disk with one file', worker, 'yes > f', /wrote more than 60 MB to disk|exited with|ended by SIGXFSZ/],
    ['prints a gigabyte of lines', worker, 'yes | head -c 1000000000', /printed more than 1 MB/],
    ['prints a gigabyte of one line', worker, 'head -c 1000000000 /dev/zero | tr "\\0" x', /printed more than 1 MB/],
    ['sleeps for ever', hasty, 'sleep inf', /was still running when the build had taken 4 s/],
    [
      'computes for ever on every core',
      hasty,
      'for i in 1 2 3 4; do while :; do :; done & done; wait',
      /had taken 4 s/,
    ],
  ])('%s is ended at its limit, and the next one passes', async (_what, by, command, reason) => {
    const app = await by.createApp()
    const built = await by.deploy(app, script(command))
    expect(built.deployment).toMatchObject({ state: 'failed', stateReason: expect.stringMatching(reason) })
    expect(built.log.length).toBeLessThan(60_000)
    await expectNothingLeft(by, app, built)
    expect((await by.deploy(app, script(page))).deployment).toMatchObject({ state: 'live', stateReason: null })
  })

  test('starts programs without end gets no more than 512 of them', async () => {
    const { log } = await worker.deploy(await worker.createApp(), script(forks))
    const [, started] = /no more after (\d+) EAGAIN/.exec(log.join('\n')) ?? []
    expect(Number(started)).toBeGreaterThan(0)
    expect(Number(started)).toBeLessThanOrEqual(512)
  })
})

test('B5: daemons that a build leaves behind are gone with it, however they left', async () => {
  const app = await worker.createApp()
  const mark = `1000.${Math.random().toString().slice(2, 12)}`
  // Behind the walls a build sees its own processes only, so it says itself that all three were running.
  const built = await worker.deploy(app, {
    ...script(`
      ${page}
      setsid sleep ${mark} > /dev/null 2>&1 &
      (setsid sh -c '(sleep ${mark} &) & exit' > /dev/null 2>&1 &)
      nohup sh -c 'trap "" TERM HUP INT; sleep ${mark}; sleep ${mark}' > /dev/null 2>&1 &
      node wait.mjs
    `),
    'wait.mjs': `
      import { readdirSync, readFileSync } from 'node:fs'
      const read = (pid) => { try { return readFileSync('/proc/' + pid + '/cmdline', 'utf8') } catch { return '' } }
      const running = () => readdirSync('/proc').filter((pid) => read(pid).startsWith('sleep\\u0000${mark}')).length
      while (running() < 3) await new Promise((done) => setTimeout(done, 20))
      console.log('daemons:', running())
    `,
  })
  expect(built.log).toContain('       daemons: 3')
  expect(built.deployment.stateReason).toBeNull()
  expect(processes().filter(({ command }) => command.includes(mark))).toEqual([])
  await expectNothingLeft(worker, app, built)
})

const server = 'require("node:http").createServer((q, s) => s.end("hi")).listen(process.env.PORT)'

const closedSocket = `node -e "require('node:net').createServer().listen('OUT/s', () => process.kill(process.pid, 'SIGKILL'))"`

type Hostile = [what: string, command: string, reason: string]
const hostile: Hostile[] = [
  ['a symlink to /etc/passwd', 'ln -s /etc/passwd OUT/l', 'l is a symlink to "/etc/passwd"'],
  ['a symlink upwards', 'mkdir OUT/d; ln -s ../../secret OUT/d/l', 'd/l is a symlink to "../../secret"'],
  ['a hard link out', 'mkdir .git; touch .git/m; ln .git/m OUT/l', 'l is a hard link to a file outside what is'],
  ['a pipe', 'mkfifo OUT/p', 'p is a pipe'],
  ['a socket', `${closedSocket}; test -S OUT/s`, 's is a socket'],
  ['a setuid file', 'touch OUT/u; chmod 4755 OUT/u', 'u is a setuid or setgid file'],
  ['a setgid file', 'touch OUT/g; chmod 2755 OUT/g', 'g is a setuid or setgid file'],
  ['a name with a line break', `touch "OUT/$(printf 'a\\nb')"`, 'a\\nb has a name with a control character'],
  ['a name with an escape', `touch "OUT/$(printf 'a\\033[2J')"`, 'a\\u001b[2J has a name with a control character'],
  [
    'a name that is a path elsewhere',
    `touch 'OUT/a\\..\\..\\x'`,
    'a\\\\..\\\\..\\\\x has a name with a control character or',
  ],
  ['a name that is no text', `touch "OUT/$(printf '\\377')"`, ' has a name with a control character'],
]

describe('B8 the output of a build with', () => {
  test.each(hostile)('%s is refused with its path, as a site and as a server', async (_what, command, reason) => {
    const make = command.replaceAll('OUT', 'dist')
    const site = await worker.deploy(await worker.createApp(), script(`${page}; ${make}`))
    expect(site.deployment).toMatchObject({
      errorCode: 'OUTPUT_INVALID',
      stateReason: expect.stringContaining(reason),
    })
    const code = await worker.deploy(await worker.createApp(), {
      'package.json': { scripts: { build: `sh make.sh`, start: 'node server.js' } },
      'make.sh': command.replaceAll('OUT', '.'),
      'server.js': server,
    })
    expect(code.deployment).toMatchObject({
      errorCode: 'OUTPUT_INVALID',
      stateReason: expect.stringContaining(reason),
    })
  })

  test('devices: none can be made', async () => {
    const make = 'mknod dist/null c 1 3 || echo no character device; mknod dist/disk b 7 0 || echo no block device'
    const { log, deployment } = await worker.deploy(await worker.createApp(), script(`${page}; ${make}`))
    expect(deployment.stateReason).toBeNull()
    expect(log).toContain('       no character device')
    expect(log).toContain('       no block device')
  })

  test('links that lead out only when they are followed is refused, or shows nothing of what is there', async () => {
    const command = `${page}; echo of the source > secret.txt; mkdir -p dist/a/b; ln -s ../.. dist/a/b/up; ln -s a/b/up/../secret.txt dist/l.txt`
    const { deployment, manifest } = await worker.deploy(await worker.createApp(), script(command))
    for (const { sha256 } of manifest?.files ?? []) {
      const bytes = await buffer(await worker.deps.store.get(blobKey(sha256)))
      expect(bytes.toString('latin1')).not.toContain('of the source')
    }
    if (!manifest) expect(deployment.errorCode).toBe('OUTPUT_INVALID')
  })

  test('files, folders and links inside is published', async () => {
    const command = `${page}; mkdir dist/d; echo a > dist/d/a.txt; ln -s d/a.txt dist/b.txt; ln -s ../index.html dist/d/c.html; chmod 777 dist/d/a.txt; ln dist/d/a.txt dist/d/e.txt`
    const { deployment, manifest } = await worker.deploy(await worker.createApp(), script(command))
    expect(deployment.stateReason).toBeNull()
    expect(manifest?.files.map(({ path }) => path)).toEqual(['b.txt', 'd/a.txt', 'd/c.html', 'd/e.txt', 'index.html'])
  })
})

/** No process of the build's user, and no file of the build. */
async function expectNothingLeft(by: TestWorker, app: string, { deployment }: Built): Promise<void> {
  const { uid } = await leaseUser(by.deps.config, { purpose: 'build', app })
  const left = () => processes().filter((one) => uid !== null && one.uid === uid)
  await expect.poll(left, { timeout: 60_000 }).toEqual([])
  expect(existsSync(join(by.home, 'builds', deployment.id))).toBe(false)
}

function processes(): { uid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [, uid] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
        return [{ uid: Number(uid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8') }]
      } catch (thrown) {
        if (['ENOENT', 'ESRCH'].includes(codeOf(thrown) ?? '')) return []
        throw thrown
      }
    })
}
