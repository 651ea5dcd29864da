import { existsSync } from 'node:fs'
import { link, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test as plainTest } from 'vitest'
import { Atelier, test } from './support/atelier.ts'
import { run } from './support/command.ts'
import { Platform, type RoleName } from './support/platform.ts'
import { isAlive, listeningPorts } from './support/processes.ts'

const roles: RoleName[] = ['proxy', 'registry', 'gateway', 'worker']

describe('a running platform', () => {
  test('ends its start with the ready block', async ({ atelier }) => {
    const { home, port } = atelier
    const lines = atelier.platform.stdout.split('\n')
    expect(lines).toEqual([
      expect.stringMatching(/^Atelier is up in \d+\.\d s$/),
      expect.stringMatching(
        new RegExp(`^  console  http://console\\.localhost:${port}/#token=\\S{20,}       # one-time sign-in link$`),
      ),
      `  git      git remote add atelier http://git.localhost:${port}/<app>.git      (user: any, password: the token in ${home}/admin-token)`,
      `  apps     http://<app>.apps.localhost:${port}`,
      '  command  npm link   puts `atelier` on your PATH',
      '',
    ])
  })

  test('has written down where it is, and how to get in, for its owner only', async ({ atelier }) => {
    const { home, port } = atelier
    expect(await atelier.platform.addresses()).toMatchObject({
      api: `http://api.localhost:${port}`,
      git: `http://git.localhost:${port}`,
      console: `http://console.localhost:${port}`,
      domain: 'localhost',
      ports: { http: port },
      pid: expect.any(Number),
    })
    expect(await atelier.platform.adminToken()).toMatch(/^atl_[A-Za-z0-9_-]{43}$/)
    for (const file of ['atelier.json', 'admin-token', 'secrets/key', 'secrets/postgres.json', 'log/gateway.log'])
      expect([file, await modeOf(join(home, file))]).toEqual([file, 0o600])
    for (const directory of ['secrets', 'git', 'store', 'log', 'postgres', 'run/pg'])
      expect([directory, await modeOf(join(home, directory))]).toEqual([directory, 0o700])
  })

  test('lets the admin token in, and no other', async ({ atelier }) => {
    expect(await atelier.api('GET', 'apps')).toMatchObject({ status: 200 })
    expect(await atelier.api('GET', 'apps', undefined, { token: 'atl_wrong' })).toMatchObject({ status: 401 })
  })

  test.runIf(process.platform === 'linux')('listens on one TCP port and no other', async ({ atelier }) => {
    // While the walls are probed, at the start, there are two more for a moment: the bait on both loopback addresses.
    await expect.poll(() => listeningPorts(atelier.home)).toEqual([atelier.port])
  })

  test.for(roles)('starts the %s again when it is killed', async (role, { atelier }) => {
    const killed = await atelier.kill(role)
    await expect.poll(() => atelier.platform.pidOf(role)).not.toBeOneOf([null, killed])
    await expect.poll(() => atelier.platform.stderr).toContain(`${role} serves again`)
    expect(atelier.platform.stderr).toContain(`${role} ended unexpectedly (SIGKILL); starting it again in 0.2 s`)
    await expect.poll(async () => (await atelier.api('GET', 'apps')).status).toBe(200)
  })

  test('starts Postgres again when it is killed', async ({ atelier }) => {
    const pid = await postmasterOf(atelier.home)
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => postmasterOf(atelier.home)).not.toBeOneOf([0, pid])
    await expect.poll(async () => (await atelier.api('GET', 'apps')).status).toBe(200)
  })
})

plainTest('Ctrl-C ends gateway, worker and registry, then the proxy, then Postgres', async () => {
  await using platform = await Platform.prepare()
  await platform.start()
  const { code, stderr } = await platform.stop()
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('Stopping Atelier') })

  const [proxy, ...others] = await Promise.all(roles.map((role) => momentOf(platform.home, role, '"stopping"')))
  const postgres = await momentOf(platform.home, 'postgres', 'received fast shutdown request')
  expect(Math.max(...others)).toBeLessThanOrEqual(proxy ?? 0)
  expect(proxy).toBeLessThanOrEqual(postgres)
  expect((await platform.addresses()).pid).toBeNull()
})

plainTest.runIf(process.platform === 'linux')(
  'databases of apps are where they are to be, for every part',
  async () => {
    const url = 'postgres://maker:pw@db.example/postgres'
    await using platform = await Platform.prepare({ env: { ATELIER_APPS_DATABASE_URL: url } })
    await platform.start()
    for (const role of ['proxy', 'registry', 'worker'] as const) {
      const env = await readFile(`/proc/${await platform.pidOf(role)}/environ`, 'utf8')
      expect(env.split('\0')).toContain(`ATELIER_APPS_DATABASE_URL=${url}`)
    }
  },
)

plainTest('Ctrl-C lets a request in flight end', async () => {
  await using atelier = await Atelier.start()
  const repo = await atelier.clone(await atelier.createApp('slow'))
  await repo.commit({
    'package.json': JSON.stringify({ name: 'slow', scripts: { start: 'node server.js' } }),
    'server.js': `
      let waiting = 0
      require('node:http').createServer((request, answer) => {
        if (request.url !== '/slow') return answer.end(String(waiting))
        waiting += 1
        setTimeout(() => answer.end('done'), 2000)
      }).listen(process.env.PORT)`,
  })
  await repo.push()

  const inFlight = atelier.get('slow', '/slow')
  await expect.poll(() => atelier.get('slow', '/')).toMatchObject({ status: 200, body: '1' })
  atelier.platform.signal('SIGINT')
  expect(await inFlight).toMatchObject({ status: 200, body: 'done' })
  expect(await atelier.platform.exit()).toMatchObject({ code: 0 })
})

plainTest('a second start finds the apps, and serves them before the control plane is up', async () => {
  await using atelier = await Atelier.start()
  const { platform } = atelier
  const token = await platform.adminToken()
  const repo = await atelier.clone(await atelier.createApp('hello'))
  await repo.commit({ 'index.html': 'still here' })
  await repo.push()
  await platform.stop()

  const openDatabase = await blockDatabase(platform.home)
  platform.launch()
  await expect.poll(() => statusOf(atelier.get('hello', '/'))).toBe(200)
  expect(await statusOf(atelier.api('GET', 'apps'))).toBeGreaterThanOrEqual(500)
  expect(platform.stdout).toBe('')

  await openDatabase()
  await platform.ready()
  expect(await atelier.api('GET', 'apps')).toMatchObject({ status: 200, body: expect.stringContaining('"hello"') })
  expect(await platform.adminToken()).toBe(token)
})

plainTest('a second Ctrl-C does not wait', async () => {
  await using platform = await Platform.prepare()
  await platform.start()
  const worker = await stopWorker(platform)
  platform.signal('SIGINT')
  await expect.poll(() => platform.stderr).toContain('Ctrl-C again')
  expect(isAlive(worker)).toBe(true)
  platform.signal('SIGINT')
  expect(await platform.exit()).toMatchObject({ code: 0 })
})

plainTest('Ctrl-C while it starts leaves nothing behind', async () => {
  await using platform = await Platform.prepare()
  platform.launch()
  await expect.poll(() => existsSync(join(platform.home, 'run/processes.json'))).toBe(true)
  expect(await platform.stop()).toMatchObject({ code: 0, stdout: '' })
})

plainTest('when the supervisor is killed everything ends by itself', async () => {
  await using platform = await Platform.prepare()
  await platform.start()
  await platform.killSupervisor()
  await platform.expectNothingLeft()
})

plainTest('when the supervisor is killed the next start works at once', async () => {
  await using platform = await Platform.prepare()
  await platform.start()
  const before = await Promise.all(roles.map((role) => platform.pidOf(role)))
  // The worst case: a role that notices nothing.
  const worker = await stopWorker(platform)
  await platform.killSupervisor()
  expect(isAlive(worker)).toBe(true)

  await platform.start()
  expect(isAlive(worker)).toBe(false)
  const after = await Promise.all(roles.map((role) => platform.pidOf(role)))
  expect(after).not.toContain(null)
  expect(after.filter((pid) => before.includes(pid))).toEqual([])
})

/** Postgres waits at its first step, reading its settings from a pipe, until the returned function is called. */
async function blockDatabase(home: string): Promise<() => Promise<void>> {
  const [pipe, settings] = [join(home, 'pipe'), join(home, 'postgres/postgresql.auto.conf')]
  await run('mkfifo', ['--mode=644', pipe], { env: process.env })
  await rename(settings, `${settings}.kept`)
  await link(pipe, settings)
  return async () => {
    await rename(`${settings}.kept`, settings)
    await writeFile(pipe, '')
  }
}

/** 0: nobody answers. */
async function statusOf(answer: Promise<{ status: number }>): Promise<number> {
  return answer.then(
    ({ status }) => status,
    () => 0,
  )
}

async function stopWorker(platform: Platform): Promise<number> {
  const pid = await platform.pidOf('worker')
  if (pid === null) throw new Error('no worker is running')
  process.kill(pid, 'SIGSTOP')
  return pid
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o777
}

async function postmasterOf(home: string): Promise<number> {
  if (!(await readdir(join(home, 'postgres'))).includes('postmaster.pid')) return 0
  return Number((await readFile(join(home, 'postgres/postmaster.pid'), 'utf8')).split('\n')[0])
}

/** When a role's log has a line with this text, in milliseconds. */
async function momentOf(home: string, name: string, text: string): Promise<number> {
  const lines = (await readFile(join(home, 'log', `${name}.log`), 'utf8')).split('\n')
  const line = lines.find((one) => one.includes(text)) ?? ''
  const time = /"time":"([^"]+)"/.exec(line)?.[1] ?? line.slice(0, 23).replace(' ', 'T').concat('Z')
  return Date.parse(time)
}
