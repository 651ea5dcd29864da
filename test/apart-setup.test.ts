import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { targetOfBranch } from '../registry/branches.ts'
import { createDeployment } from '../registry/deployments.ts'
import { ApartPlatform, type PartName } from './support/apart.ts'
import { type CommandResult, run } from './support/command.ts'
import { ask } from './support/http.ts'
import { freePort } from './support/machine.ts'
import { checkout, plainEnv } from './support/platform.ts'

// What goes wrong when parts are set up on several machines, and how they say so.

let platform: ApartPlatform
let scratch: string

beforeAll(async () => {
  platform = await ApartPlatform.prepare()
  scratch = await mkdtemp('/tmp/at-')
  await chmod(scratch, 0o711)
  for (const part of ['registry', 'gateway', 'worker1', 'proxy1'] satisfies PartName[]) platform.startPart(part)
  const eventually = { timeout: 60_000, interval: 100 }
  await vi.waitFor(async () => expect(await health('api.localhost')).toBe(200), eventually)
  const sql = await platform.openDatabase()
  const agreed = () => sql`select name from agreements order by name`
  await vi.waitFor(async () => expect(await agreed()).toHaveLength(3), eventually)
  await createApp(sql, { id: 'used', by: 'test' })
  const target = targetOfBranch({ id: 'used', productionBranch: 'main' }, 'main')
  await createDeployment(sql, { app: 'used', target, version: '1.0.0', source: 'upload', by: 'test' })
  await sql.end()
})

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]()
  await rm(scratch, { recursive: true, force: true })
})

/** Starts one more part as on another machine, to its end. */
function serve(role: string, env: Record<string, string | undefined> = {}): Promise<CommandResult> {
  return run(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'serve', role], {
    env: { ...plainEnv(), ...platform.settings, ATELIER_HOME: join(scratch, `home-${homes++}`), ...env },
    signal: AbortSignal.timeout(120_000),
  })
}
let homes = 0

async function health(host: string): Promise<number> {
  return ask(platform.port, host, '/health').then(
    ({ status }) => status,
    () => 0,
  )
}

describe('a part that does not fit says so in one sentence and does not start', () => {
  test.each<[string, string, Record<string, string | undefined>, string]>([
    [
      'no database',
      'worker',
      { ATELIER_DATABASE_URL: undefined },
      'atelier serve worker needs a Postgres that every part reaches: set ATELIER_DATABASE_URL',
    ],
    [
      'no key',
      'worker',
      { ATELIER_KEY: undefined },
      'this platform has a key, and this machine does not have it; set ATELIER_KEY to',
    ],
    [
      'another key',
      'registry',
      { ATELIER_KEY: randomBytes(32).toString('base64') },
      'the key in ATELIER_KEY is not this platform’s; set ATELIER_KEY to',
    ],
    [
      'a store of its own',
      'worker',
      { ATELIER_STORE_URL: undefined },
      'is not the one the other parts of this platform use; set ATELIER_STORE_URL to one that all machines reach',
    ],
    ['a second gateway', 'gateway', {}, 'are in the home of another gateway, and there is one gateway to a platform'],
    [
      'a wrong password or database',
      'worker',
      { ATELIER_DATABASE_URL: 'nowhere' },
      'ATELIER_DATABASE_URL: must start with postgres://',
    ],
  ])('%s', async (_, role, env, sentence) => {
    const { code, stderr } = await serve(role, {
      ATELIER_GATEWAY_LISTEN: undefined,
      ATELIER_REGISTRY_LISTEN: undefined,
      ...env,
    })
    expect(stderr).toContain(sentence)
    expect(code).toBe(1)
  })

  test('an address that is taken, or not of this machine', async () => {
    const { code, stderr } = await serve('registry')
    expect(stderr).toMatch(/127\.0\.0\.1:\d+ cannot be listened on \(it is taken by another program\)/)
    expect(code).not.toBe(0)
  })

  test('a second worker in the same home, and a platform of atelier up there', async () => {
    const home = platform.homeOf('worker1')
    expect(await serve('worker', { ATELIER_HOME: home })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/another worker \(process \d+\) uses the home/),
    })
    const up = await run(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'up'], {
      env: { ...plainEnv(), ATELIER_HOME: home, ATELIER_HTTP_PORT: String(await freePort()) },
    })
    expect(up).toMatchObject({ code: 1, stderr: expect.stringMatching(/the worker \(process \d+\) uses the home/) })
  })
})

describe('C3: the first admin token', () => {
  test('is in a file only its owner reads, works, and was written by the first registry', async () => {
    const file = join(platform.home, 'admin-token')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const status = await ask(
      platform.port,
      'api.localhost',
      '/api/platform/whoami',
      bearer(await platform.adminToken()),
    )
    expect(status).toMatchObject({ status: 200, body: expect.stringContaining('"admin"') })
  })

  test('cannot be claimed with a file by whoever starts a registry later', async () => {
    const home = await mkdtemp('/tmp/at-')
    const mine = `atl_${'x'.repeat(43)}`
    await writeFile(join(home, 'admin-token'), `${mine}\n`, { mode: 0o600 })
    platform.startPart('registry2', { ATELIER_REGISTRY_LISTEN: `127.0.0.1:${await freePort()}`, ATELIER_HOME: home })
    await expect
      .poll(() => readFile(join(home, 'atelier.json'), 'utf8').catch(() => ''), { timeout: 30_000 })
      .not.toBe('')
    expect(await ask(platform.port, 'api.localhost', '/api/platform/whoami', bearer(mine))).toMatchObject({
      status: 401,
    })
    await platform.takeDown('registry2', 'SIGTERM')
    await rm(home, { recursive: true, force: true })
  })

  test('is replaced by `atelier tokens renew-admin` when it is lost', async () => {
    const lost = await platform.adminToken()
    const renewed = await run(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'tokens', 'renew-admin'], {
      env: { ...plainEnv(), ...platform.settings, ATELIER_HOME: platform.home },
    })
    expect(renewed).toMatchObject({ code: 0, stdout: expect.stringContaining(join(platform.home, 'admin-token')) })
    const whoami = (token: string) => ask(platform.port, 'api.localhost', '/api/platform/whoami', bearer(token))
    expect((await whoami(lost)).status).toBe(401)
    expect((await whoami(await platform.adminToken())).status).toBe(200)
  })
})

test('a part waits for a database that is not there yet, and says so once', async () => {
  const port = await freePort()
  const home = join(scratch, 'waits')
  platform.startPart('worker2', {
    ATELIER_DATABASE_URL: `postgres://atelier@127.0.0.1:${port}/later`,
    ATELIER_HOME: home,
  })
  const says = () => platform.logOf('worker2').match(/the database cannot be reached, waiting for it/g) ?? []
  await expect.poll(() => says().length, { timeout: 30_000 }).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(says()).toHaveLength(1)
  expect(platform.pidOf('worker2')).not.toBeNull()
  await platform.takeDown('worker2', 'SIGTERM')
})

function bearer(token: string) {
  return { headers: { authorization: `Bearer ${token}` } }
}
