import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Check } from '../cli/up/doctor/check.ts'
import { test as withAtelier } from './support/atelier.ts'
import { run } from './support/command.ts'
import { freePort } from './support/machine.ts'
import { type MachineState, runOn } from './support/machine-state.ts'
import { checkout, plainEnv } from './support/platform.ts'
import { processesOf } from './support/processes.ts'

const isRootOnLinux = process.getuid?.() === 0 && process.platform === 'linux'
const atelier = [process.execPath, join(checkout, 'cli/atelier.mjs')]
type Examined = { code: number | null; ok: boolean; checks: Check[]; of(name: string): Check | undefined; said: string }

let folder: string
let env: NodeJS.ProcessEnv

beforeAll(async () => {
  folder = await mkdtemp('/tmp/at-doctor-')
  await chmod(folder, 0o711)
  env = {
    ...plainEnv(),
    ATELIER_HOME: join(folder, 'home'),
    ATELIER_HTTP_PORT: String(await freePort()),
    NO_COLOR: '1',
  }
})

afterAll(() => rm(folder, { recursive: true, force: true }))

async function examine(settings: NodeJS.ProcessEnv = {}, state: MachineState | null = null): Promise<Examined> {
  const command = [...atelier, 'doctor', '--json']
  const [program = '', ...args] = command
  const { code, stdout, stderr } = state
    ? await runOn(state, command, { ...env, ...settings })
    : await run(program, args, { env: { ...env, ...settings } })
  if (!stdout.startsWith('{')) throw new Error(stderr)
  const { ok, checks }: { ok: boolean; checks: Check[] } = JSON.parse(stdout)
  return { code, ok, checks, of: (name) => checks.find((check) => check.name === name), said: stdout + stderr }
}

test('a machine where the platform never ran: every line says what it found, and nothing is left behind', async () => {
  const { code, ok, checks, of } = await examine()
  expect(checks.filter(({ state }) => state === 'fail')).toEqual([])
  expect([ok, code]).toEqual([true, 0])
  expect(of('platform')).toMatchObject({ state: 'warn', next: 'start it: npm start' })
  for (const name of [
    'settings',
    'node',
    'git',
    'isolation',
    'control groups',
    'open files',
    'home',
    'key',
    'disk',
    'port',
  ])
    expect(of(name)?.what, name).toBeTruthy()
  for (const name of ['domain', 'apps domain', 'clock', 'postgres', 'queue', 'store', 'packages'])
    expect(of(name)?.what, name).toBeTruthy()
  for (const { state, next, name } of checks) if (state !== 'ok') expect(next, name).toBeTruthy()
  const { code: known } = await run('/bin/ls', [env['ATELIER_HOME'] ?? ''], { env })
  expect(known).not.toBe(0)
})

withAtelier('a running platform: its port, its database, its store, its key', async ({ atelier: platform }) => {
  const look = async () => {
    const { stdout, code } = await platform.cli(['doctor', '--json'], {
      env: { ATELIER_HTTP_PORT: String(platform.port) },
    })
    const { checks }: { checks: Check[] } = JSON.parse(stdout)
    return { code, of: (name: string) => checks.find((check) => check.name === name) }
  }
  const well = await look()
  expect(well.code).toBe(0)
  expect(well.of('platform')).toMatchObject({ state: 'ok', what: expect.stringMatching(/it runs \(process \d+\)/) })
  expect(well.of('port')).toEqual({ name: 'port', state: 'ok', what: `${platform.port} is the platform's` })
  expect(well.of('postgres')).toMatchObject({
    state: 'ok',
    what: expect.stringMatching(
      /^embedded, version \d+, and LISTEN works; \d+ MB on disk, [1-9]\d* of \d+ connections taken$/,
    ),
  })
  expect(well.of('apps postgres')).toMatchObject({ state: 'ok', what: expect.stringContaining('not there yet') })
  expect(well.of('store')).toMatchObject({ state: 'ok' })
  expect(well.of('key')).toMatchObject({ state: 'ok', what: expect.stringContaining('mode 600') })

  const key = join(platform.home, 'secrets/key')
  await chmod(key, 0o644)
  const open = await look()
  await chmod(key, 0o600)
  expect(open.code).toBe(1)
  expect(open.of('key')).toMatchObject({
    state: 'fail',
    what: `${key} is open to others (mode 644)`,
    next: `chmod 600 ${key}`,
  })

  const { stdout } = await platform.cli(['doctor'], { env: { ATELIER_HTTP_PORT: String(platform.port) } })
  expect(stdout).toMatch(/^ok {4}settings {8}/)
})

describe('what a newcomer trips over is named with the way out', () => {
  test('a port that another program has', async () => {
    const holder = createServer().listen(0)
    await once(holder, 'listening')
    const { port } = holder.address() as AddressInfo
    const { code, of } = await examine({ ATELIER_HTTP_PORT: String(port) })
    holder.close()
    expect(code).toBe(1)
    expect(of('port')).toMatchObject({ state: 'fail', what: `port ${port} is taken by another program` })
  })

  test('a bad setting, and all else as if there were none', async () => {
    const { code, of, checks } = await examine({ ATELIER_BUILD_CONCURRENCY: 'many' })
    expect(code).toBe(1)
    expect(of('settings')).toMatchObject({ state: 'fail', what: expect.stringContaining('ATELIER_BUILD_CONCURRENCY') })
    expect(checks.length).toBeGreaterThan(15)
  })

  test('a database and a queue that do not answer, without their passwords', async () => {
    const { of, said } = await examine({
      ATELIER_DATABASE_URL: 'postgres://atelier:hush-db@127.0.0.1:1/atelier',
      ATELIER_QUEUE_URL: 'redis://:hush-queue@127.0.0.1:1',
    })
    expect(of('postgres')).toMatchObject({ state: 'fail', next: expect.stringContaining('ATELIER_DATABASE_URL') })
    expect(of('queue')).toMatchObject({ state: 'fail', next: expect.stringContaining('ATELIER_QUEUE_URL') })
    expect(of('apps postgres')).toBeUndefined()
    const apart = await examine({ ATELIER_APPS_DATABASE_URL: 'postgres://apps:hush-apps@127.0.0.1:1/postgres' })
    expect(apart.of('apps postgres')).toMatchObject({
      state: 'fail',
      what: expect.stringMatching(/^it cannot be reached/),
      next: expect.stringContaining('ATELIER_APPS_DATABASE_URL'),
    })
    expect(apart.said).not.toContain('hush')
    expect(said).not.toContain('hush')
  })

  test('a domain that no name server knows', async () => {
    const { of } = await examine({ ATELIER_DOMAIN: 'atelier.invalid' })
    expect(of('domain')).toMatchObject({ state: 'fail', next: expect.stringContaining('*.atelier.invalid') })
    expect(of('apps domain')).toMatchObject({ state: 'fail', next: expect.stringContaining('*.apps.atelier.invalid') })
  })
})

describe.runIf(isRootOnLinux)('machines that are poor or weak', () => {
  const up = [...atelier, 'up']
  const nothingRuns = () => expect.poll(() => processesOf(folder)).toEqual([])

  test('no bubblewrap and no unshare: the walls that are left, and what to install', async () => {
    const without = ['/usr/bin/bwrap', '/usr/bin/unshare']
    const { code, of } = await examine({}, { without })
    expect(of('isolation')).toMatchObject({
      state: 'warn',
      what: expect.stringMatching(/^users \(group\): apps and builds are users of their own and reach /),
      next: 'install what is missing: apt-get install bubblewrap util-linux',
    })
    expect(code).toBe(0)
    const required = await examine({ ATELIER_ISOLATION: 'require' }, { without })
    expect(required.code).toBe(1)
    expect(required.of('isolation')).toMatchObject({ state: 'fail' })
  })

  test('no user namespaces: root makes the room itself', async () => {
    const { of } = await examine({}, { noUserNamespaces: true })
    expect(of('isolation')?.what).toMatch(/^(strong|full) \(bubblewrap as root\)/)
  })

  test('neither user namespaces nor the right to mount, as in a container', async () => {
    const { of } = await examine({}, { noUserNamespaces: true, noRights: ['sys_admin'] })
    expect(of('isolation')).toMatchObject({
      state: 'warn',
      what: expect.stringMatching(/^users \(group\)/),
      next: 'allow user namespaces: sysctl -w user.max_user_namespaces=15000',
    })
  })

  test('an ordinary user, with bubblewrap and without', async () => {
    const home = join(folder, 'nobody')
    await mkdir(home, { recursive: true })
    await chown(home, 65_534, 65_534)
    const own = { HOME: home, XDG_CACHE_HOME: home, ATELIER_HOME: join(home, 'atelier') }
    const walled = await examine(own, { uid: 65_534 })
    expect(walled.of('isolation')?.what).toMatch(/^strong \(bubblewrap\): .* is missing: .*users of their own/)
    const bare = await examine(own, { uid: 65_534, without: ['/usr/bin/bwrap', '/usr/bin/unshare'] })
    expect(bare.of('isolation')?.what).toMatch(/^none \(group\): apps and builds are NOT walled off/)
  })

  test('ATELIER_ISOLATION=require where walls are weak: one sentence with the fix, and nothing runs', async () => {
    // Nor a way to install them.
    const state = { without: ['/usr/bin/bwrap', '/usr/bin/unshare', '/usr/bin/apt-get'] }
    const { code, stdout, stderr } = await runOn(state, up, { ...env, ATELIER_ISOLATION: 'require' })
    expect(stdout).toBe('')
    const [sentence = ''] = stderr.trim().split('\n').slice(-1)
    expect(sentence).toMatch(
      /^atelier: ATELIER_ISOLATION=require, and here apps and builds are users of their own and reach /,
    )
    expect(sentence).toContain('Install what is missing: apt-get install bubblewrap util-linux')
    expect(code).toBe(1)
    await nothingRuns()
  })

  test('a disk that is nearly full is refused before a database is begun, and the doctor names it', async () => {
    const disk = join(folder, 'disk')
    await mkdir(disk, { recursive: true })
    const state = { smallDisk: { path: disk, size: '8m' } }
    const settings = { ATELIER_HOME: join(disk, 'home') }
    const { code, stderr } = await runOn(state, up, { ...env, ...settings })
    expect(stderr).toMatch(/^atelier: the disk of the home \S+ has \d MB left .*; free some space, or choose another/)
    expect(code).toBe(1)
    expect((await examine(settings, state)).of('disk')).toMatchObject({ state: 'fail' })
    await nothingRuns()
  })

  test('64 open files are too few, and it is said how to have more', async () => {
    const state = { openFiles: 64 }
    const { code, stderr } = await runOn(state, up, env)
    expect(stderr).toMatch(/^atelier: a process may have 64 files open here, .*ulimit -n 65536/)
    expect(code).toBe(1)
    expect((await examine({}, state)).of('open files')).toMatchObject({ state: 'fail' })
    await nothingRuns()
  })
})
