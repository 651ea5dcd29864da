import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { connect as connectSocket, createServer } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { run } from '../test/support/command.ts'
import { createDatabase } from '../test/support/database.ts'
import { recordLog } from '../test/support/log.ts'
import { freePort, requireProgram } from '../test/support/machine.ts'
import { TestRedis } from '../test/support/redis.ts'
import { type Config, readConfig } from './config.ts'
import { openQueue, startBuildWorker } from './queue.ts'
import { parseDatabaseUrl } from './sql.ts'

const database = await createDatabase()
const redis = await TestRedis.start()
afterAll(async () => {
  await redis[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const onPostgres = readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: database.url })
const onRedis = (url: string) =>
  readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: database.url, ATELIER_QUEUE_URL: url })

// A queue and a worker with what they built and what they logged.
function running(
  config: Config,
  { concurrency = 2, build }: { concurrency?: number; build?: (id: string) => Promise<void> } = {},
) {
  const { log, lines } = recordLog()
  const built: string[] = []
  const queue = openQueue(config, { log })
  const note = async (id: string) => {
    built.push(id)
    await build?.(id)
  }
  const worker = startBuildWorker(config, note, { concurrency, log })
  return {
    queue,
    built,
    lines,
    async [Symbol.asyncDispose]() {
      await worker.close()
      await queue.close()
    },
  }
}

describe.each([
  ['Postgres', onPostgres],
  ['Redis', onRedis(redis.url)],
])('the queue on %s', (_name, config) => {
  test('wakes a worker for what is enqueued, before or after it came', async () => {
    const early = openQueue(config, { log: recordLog().log })
    await early.enqueueBuild({ id: 'early', attempt: 0 })
    await early.close()
    await using it = running(config)
    await it.queue.enqueueBuild({ id: 'late', attempt: 0 })
    await expect.poll(() => it.built.toSorted()).toEqual(['early', 'late'])
  })

  test('an attempt is enqueued once, the next attempt of the deployment again', async () => {
    const { log } = recordLog()
    const queue = openQueue(config, { log })
    for (const attempt of [0, 0, 0, 1]) await queue.enqueueBuild({ id: 'twice', attempt })
    await queue.enqueueBuild({ id: 'other', attempt: 0 })
    await queue.close()
    await using it = running(config, { concurrency: 1 })
    await expect.poll(() => it.built).toEqual(['twice', 'twice', 'other'])
  })

  test('a build that throws ends its job and no other, and is logged', async () => {
    await using it = running(config, {
      build: async (id) => {
        if (id === 'bad') throw new Error('it broke')
      },
    })
    for (const id of ['bad', 'good']) await it.queue.enqueueBuild({ id, attempt: 0 })
    await expect.poll(() => it.built.toSorted()).toEqual(['bad', 'good'])
    await expect.poll(() => it.lines.join('')).toContain('it broke')
    expect(it.built).toHaveLength(2)
  })

  test('no more builds run at once than are allowed', async () => {
    const gate = Promise.withResolvers<void>()
    let most = 0
    let now = 0
    await using it = running(config, {
      concurrency: 2,
      build: async () => {
        most = Math.max(most, ++now)
        await gate.promise
        now -= 1
      },
    })
    for (let at = 0; at < 5; at += 1) await it.queue.enqueueBuild({ id: `one${at}`, attempt: 0 })
    await expect.poll(() => now).toBe(2)
    gate.resolve()
    await expect.poll(() => it.built).toHaveLength(5)
    expect(most).toBe(2)
  })

  test('C5: only an id gets through, and only as Atelier writes it', async () => {
    await using it = running(config)
    // Attempts that are no numbers make job ids that Atelier does not make.
    await it.queue.enqueueBuild({ id: '$(touch /tmp/x)', attempt: 0 })
    await it.queue.enqueueBuild({ id: '../other', attempt: 0 })
    await it.queue.enqueueBuild({ id: 'honest', attempt: 0 })
    await expect.poll(() => it.built).toEqual(['honest'])
    await expect.poll(() => it.lines.filter((line) => line.includes('build job dropped'))).toHaveLength(2)
  })
})

describe('C5: a job written straight into Redis', () => {
  const job = (id: string, fields: Record<string, string>) =>
    redis
      .command(
        'HSET',
        `atelier:builds:${id}`,
        ...Object.entries({ name: 'build', opts: '{}', timestamp: '1', ...fields }).flat(),
      )
      .then(() => redis.command('LPUSH', 'atelier:builds:wait', id))
      .then(() => redis.command('ZADD', 'atelier:builds:marker', '0', '0'))

  test.each<[string, string, Record<string, string>]>([
    ['with a command beside the id', 'abc-0', { data: '{"deploymentId":"abc","command":"touch /tmp/x"}' }],
    ['with a command for an id', 'abc-0', { data: '{"deploymentId":"$(touch /tmp/x)"}' }],
    ['of another deployment than its own name says', 'abc-0', { data: '{"deploymentId":"def"}' }],
    ['of another kind', 'abc-0', { name: 'run', data: '{"deploymentId":"abc"}' }],
    ['(I7) with a prototype for an id', 'abc-0', { data: '{"__proto__":{"deploymentId":"abc"}}' }],
    ['with a name nobody gives', 'zzz', { data: '{"deploymentId":"zzz"}' }],
  ])('%s is dropped, and said', async (_, id, fields) => {
    await using it = running(onRedis(redis.url))
    await job(id, fields)
    await expect.poll(() => it.lines.join('')).toContain('build job dropped: not made by Atelier')
    await job('abc-7', { data: '{"deploymentId":"abc"}' })
    await expect.poll(() => it.built).toEqual(['abc'])
  })

  test('that is no JSON does not keep others from being built', async () => {
    await using it = running(onRedis(redis.url))
    await job('bad-0', { data: 'no json' })
    await it.queue.enqueueBuild({ id: 'after', attempt: 0 })
    await expect.poll(() => it.built).toEqual(['after'])
    await redis.command('FLUSHALL')
  })
})

describe('F7: Redis', () => {
  test('that is away when all starts is said once, without its password, and is found when it comes', async () => {
    await using late = await TestRedis.prepare()
    await using it = running(onRedis(late.url))
    const startedAt = performance.now()
    for (const id of ['one', 'two', 'three']) await it.queue.enqueueBuild({ id, attempt: 0 })
    expect(performance.now() - startedAt).toBeLessThan(9000)
    let returns = 0
    it.queue.onReturn = () => {
      returns += 1
    }
    await late.start()
    await expect.poll(() => returns).toBe(1)
    await expect
      .poll(async () => {
        await it.queue.enqueueBuild({ id: 'found', attempt: 0 })
        return it.built
      })
      .toContain('found')
    expect(it.lines.filter((line) => line.includes('"level":50'))).toHaveLength(2)
    expect(it.lines.join('')).toContain('build queue unreachable')
    expect(it.lines.join('')).not.toContain(late.password)
  })

  test('with another password is refused in words that do not hold the right one or the wrong one', async () => {
    await using it = running(onRedis(redis.url.replace('secret-', 'wrong-')))
    await it.queue.enqueueBuild({ id: 'never', attempt: 0 })
    await expect.poll(() => it.lines.join('')).toContain('WRONGPASS')
    expect(it.lines.join('')).not.toContain(redis.password.slice(7))
    expect(it.built).toEqual([])
  })

  test('FLUSHALL, a crash and a restart: what is enqueued afterwards is built', async () => {
    await using own = await TestRedis.start()
    await using it = running(onRedis(own.url))
    const builds = (id: string) =>
      expect
        .poll(async () => {
          await it.queue.enqueueBuild({ id, attempt: 0 })
          return it.built
        })
        .toContain(id)
    await builds('before')
    await own.command('FLUSHALL')
    await builds('flushed')
    await own.stop()
    await it.queue.enqueueBuild({ id: 'away', attempt: 0 })
    await own.start()
    await builds('restarted')
  })

  test('that hangs holds up a push for two seconds, and those after it not at all', async () => {
    await using own = await TestRedis.start()
    await using it = running(onRedis(own.url))
    await it.queue.enqueueBuild({ id: 'before', attempt: 0 })
    await expect.poll(() => it.built).toEqual(['before'])
    own.freeze()
    const took: number[] = []
    for (const id of ['one', 'two', 'three', 'four']) {
      const startedAt = performance.now()
      await it.queue.enqueueBuild({ id, attempt: 0 })
      took.push(performance.now() - startedAt)
    }
    own.resume()
    expect(took[0]).toBeLessThan(4000)
    expect(Math.max(...took.slice(1))).toBeLessThan(1000)
    await expect
      .poll(async () => {
        await it.queue.enqueueBuild({ id: 'after', attempt: 0 })
        return it.built
      })
      .toContain('after')
  })

  test('that is full takes no jobs and is said; with room again it does', async () => {
    await using own = await TestRedis.start()
    await using it = running(onRedis(own.url))
    await it.queue.enqueueBuild({ id: 'before', attempt: 0 })
    await expect.poll(() => it.built).toEqual(['before'])
    await own.command('CONFIG', 'SET', 'maxmemory', '1')
    await it.queue.enqueueBuild({ id: 'full', attempt: 0 })
    expect(it.lines.join('')).toContain('OOM command not allowed')
    await own.command('CONFIG', 'SET', 'maxmemory', '0')
    await expect
      .poll(async () => {
        await it.queue.enqueueBuild({ id: 'room', attempt: 0 })
        return it.built
      })
      .toContain('room')
    // A worker tries once a second: a storm would be thousands of lines.
    expect(it.lines.length).toBeLessThan(100)
  })

  test('whose log on disk was cut off in the middle of a job: the job comes once more and is built', async () => {
    await using own = await TestRedis.start()
    const { log } = recordLog()
    const queue = openQueue(onRedis(own.url), { log })
    await queue.enqueueBuild({ id: 'torn', attempt: 0 })
    await own.stop()
    await own.truncateLog(40)
    await own.start()
    await using it = running(onRedis(own.url))
    await expect
      .poll(async () => {
        await it.queue.enqueueBuild({ id: 'torn', attempt: 0 })
        return it.built
      })
      .toContain('torn')
    await queue.close()
  })

  test('that may evict is warned of, one that may not is not', async () => {
    await using evicting = await TestRedis.start(['--maxmemory-policy', 'allkeys-lru'])
    await using bad = running(onRedis(evicting.url))
    await expect.poll(() => bad.lines.join('')).toContain('maxmemory-policy noeviction')
    await using good = running(onRedis(redis.url))
    await good.queue.enqueueBuild({ id: 'asked', attempt: 0 })
    await expect.poll(() => good.built).toEqual(['asked'])
    expect(good.lines.join('')).not.toContain('noeviction')
  })

  test('whose certificate nobody vouches for is said, and ends nothing', async () => {
    const directory = await mkdtemp('/tmp/at-tls-')
    const made = ['-keyout', join(directory, 'key'), '-out', join(directory, 'certificate')]
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', ...made]
    expect(await run(await requireProgram('openssl'), request, { env: process.env })).toMatchObject({ code: 0 })
    const port = await freePort()
    const tls = ['--tls-port', String(port), '--tls-cert-file', join(directory, 'certificate')]
    await using own = await TestRedis.start([
      ...tls,
      '--tls-key-file',
      join(directory, 'key'),
      '--tls-auth-clients',
      'no',
    ])
    await using it = running(onRedis(own.url.replace('redis:', 'rediss:').replace(/:\d+\/0$/, `:${port}/0`)))
    await it.queue.enqueueBuild({ id: 'never', attempt: 0 })
    await expect
      .poll(() => it.lines.filter((line) => line.includes('self-signed certificate')).length)
      .toBeGreaterThan(1)
    expect(it.built).toEqual([])
  })

  test('may be one that gives Atelier its own keys and nothing else', async () => {
    const rules = ['on', '>narrow', '~atelier:*', '+@all', '-@admin', '-@dangerous', '+info', '+client|setname']
    await redis.command('ACL', 'SETUSER', 'atelier', ...rules)
    await using it = running(onRedis(redis.url.replace(/:[^@/]*@/, 'atelier:narrow@')))
    await it.queue.enqueueBuild({ id: 'narrow', attempt: 0 })
    await expect.poll(() => it.built).toEqual(['narrow'])
    expect(it.lines.join('')).not.toContain('NOPERM')
  })
})

test('a queue and a worker opened while the database is away find it when it comes, and do not storm until then', async () => {
  const away = await mkdtemp('/tmp/queue-')
  const address = parseDatabaseUrl(database.url)
  const url = new URL(database.url)
  url.searchParams.set('host', away)
  await using it = running(readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: url.href }))
  await it.queue.enqueueBuild({ id: 'lost', attempt: 0 })
  await expect.poll(() => it.lines).not.toEqual([])

  const server = createServer((client) => {
    const postgres = connectSocket(join(address.host, `.s.PGSQL.${address.port}`))
    for (const [from, to] of [
      [client, postgres],
      [postgres, client],
    ] as const)
      pipeline(from, to).catch(() => client.destroy())
  }).listen(join(away, '.s.PGSQL.5432'))
  await once(server, 'listening')
  await expect
    .poll(
      async () => {
        await it.queue.enqueueBuild({ id: 'found', attempt: 0 })
        return it.built
      },
      { timeout: 30_000, interval: 100 },
    )
    .toContain('found')
  // A worker tries once a second, this loop ten times: a storm would be thousands of lines.
  expect(it.lines.length).toBeLessThan(300)
  server.close()
})
