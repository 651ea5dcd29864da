import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Atelier } from './support/atelier.ts'
import { expectSoundHistory, type SeenPush } from './support/history.ts'
import type { RoleName } from './support/platform.ts'
import { atOnce, type Repo } from './support/repo.ts'
import { type TestServices, testOnServices as test } from './support/services.ts'

// F7: whatever becomes of Redis, what was pushed is a row in Postgres, and is built.

const pushed: SeenPush[] = []

test('F7: a push while Redis is stopped is taken, and built when Redis is back', async ({ atelier, services }) => {
  const repo = await appWithChange(atelier, 'stopped')
  await services.redis.stop()
  const pushing = repo.push(atOnce)
  await expect.poll(() => statesOf(services, 'stopped')).toEqual(['queued'])
  await services.redis.start()
  await pushing
  await expect.poll(() => bodyOf(atelier, 'stopped')).toBe('stopped')
  for (const role of ['registry', 'gateway', 'worker']) {
    const log = await logOf(atelier, role)
    expect(log).toContain('build queue unreachable; pushes are taken')
    expect(log).not.toContain(services.redis.password)
  }
  expect(atelier.platform.stderr).toMatch(/build queue unreachable; .*queue=Redis at 127\.0\.0\.1:\d+/)
})

test('F7: no push is lost while Redis is flushed again and again', async ({ atelier, services }) => {
  const names = ['flush-a', 'flush-b', 'flush-c', 'flush-d']
  const repos = await Promise.all(names.map((name) => appWithChange(atelier, name)))
  let isPushing = true
  const flushing = (async () => {
    let flushes = 0
    for (; isPushing; flushes += 1) await services.redis.command('FLUSHALL')
    return flushes
  })()
  await Promise.all(repos.map((repo) => repo.push(atOnce)))
  isPushing = false
  expect(await flushing).toBeGreaterThan(10)
  for (const name of names) await expect.poll(() => bodyOf(atelier, name)).toBe(name)
})

test('F7: a push while Redis is full is taken, and built when there is room', async ({ atelier, services }) => {
  const repo = await appWithChange(atelier, 'full')
  await services.redis.command('CONFIG', 'SET', 'maxmemory', '1')
  const pushing = repo.push(atOnce)
  await expect.poll(() => statesOf(services, 'full')).toEqual(['queued'])
  await expect.poll(() => logOf(atelier, 'gateway')).toContain('OOM command not allowed')
  await services.redis.command('CONFIG', 'SET', 'maxmemory', '0')
  await pushing
  await expect.poll(() => bodyOf(atelier, 'full')).toBe('full')
})

test('F7: a job that Redis lost with the end of its log is given again', async ({ atelier, services }) => {
  const repo = await appWithChange(atelier, 'torn')
  const held = await stop(atelier, ['worker'])
  let pushing: Promise<unknown>
  try {
    pushing = repo.push(atOnce)
    await expect.poll(() => services.redis.command('LLEN', 'atelier:builds:wait')).toBe(1)
    // Nobody gives the job again before it has been looked for.
    held.push(...(await stop(atelier, ['registry', 'gateway'])))
    await services.redis.stop()
    await services.redis.truncateLog(100)
    await services.redis.start()
    expect(await services.redis.command('LLEN', 'atelier:builds:wait')).toBe(0)
  } finally {
    for (const pid of held) process.kill(pid, 'SIGCONT')
  }
  await pushing
  await expect.poll(() => bodyOf(atelier, 'torn')).toBe('torn')
})

test('F7: the platform starts without Redis, says so, and builds when it comes', async ({ atelier, services }) => {
  await services.redis.stop()
  await atelier.platform.stop()
  await atelier.platform.start()
  await expect.poll(() => bodyOf(atelier, 'torn')).toBe('torn')
  expect(atelier.platform.stderr).toContain('build queue unreachable')
  const repo = await appWithChange(atelier, 'late')
  const pushing = repo.push(atOnce)
  await expect.poll(() => statesOf(services, 'late')).toEqual(['queued'])
  await services.redis.start()
  await pushing
  await expect.poll(() => bodyOf(atelier, 'late')).toBe('late')
})

test('C5: jobs written by hand build nothing that was not pushed', async ({ atelier, services }) => {
  const before = await services.database.sql`select id, state, attempt from deployments order by id`
  const write = async (id: string, data: string) => {
    const { redis } = services
    await redis.command('HSET', `atelier:builds:${id}`, 'name', 'build', 'opts', '{}', 'timestamp', '1', 'data', data)
    await redis.command('LPUSH', 'atelier:builds:wait', id)
    await redis.command('ZADD', 'atelier:builds:marker', '0', '0')
  }
  await write('nobody000000-0', '{"deploymentId":"nobody000000"}')
  await write('command00000-0', '{"deploymentId":"$(touch /tmp/owned)"}')
  // Of another tenant, and done: its row says so.
  await write(`${before[0]?.['id']}-9`, `{"deploymentId":"${before[0]?.['id']}"}`)
  await expect.poll(() => logOf(atelier, 'worker')).toContain('build job dropped: there is no such deployment')
  await expect.poll(() => logOf(atelier, 'worker')).toContain('build job dropped: not made by Atelier')
  await expect.poll(() => logOf(atelier, 'worker')).toContain('build not claimed')
  expect(await services.database.sql`select id, state, attempt from deployments order by id`).toEqual(before)
})

test('F7: after all that, every push is there once, live as it was pushed', async ({ atelier, services }) => {
  expect(pushed).toHaveLength(8)
  await expectSoundHistory(atelier, pushed, { services })
})

async function appWithChange(atelier: Atelier, name: string): Promise<Repo> {
  const repo = await atelier.clone(await atelier.createApp(name))
  const sha = await repo.commit({ 'index.html': name })
  pushed.push({ app: name, ref: 'refs/heads/main', sha })
  return repo
}

/** Holds roles where they are; resolves to their processes. */
async function stop(atelier: Atelier, roles: RoleName[]): Promise<number[]> {
  const pids = await Promise.all(roles.map((role) => atelier.platform.pidOf(role)))
  return pids.map((pid, index) => {
    if (pid === null) throw new Error(`no ${roles[index]}`)
    process.kill(pid, 'SIGSTOP')
    return pid
  })
}

async function statesOf({ database }: TestServices, app: string): Promise<string[]> {
  const rows = await database.sql<{ state: string }[]>`select state from deployments where app_id = ${app}`
  return rows.map(({ state }) => state)
}

function logOf(atelier: Atelier, role: string): Promise<string> {
  return readFile(join(atelier.home, `log/${role}.log`), 'utf8')
}

async function bodyOf(atelier: Atelier, app: string): Promise<string> {
  return (await atelier.get(app, '/')).body
}
