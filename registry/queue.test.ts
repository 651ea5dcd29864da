import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { connect as connectSocket, createServer } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { readConfig } from './config.ts'
import { openQueue, startBuildWorker } from './queue.ts'
import { parseDatabaseUrl } from './sql.ts'

test('a queue and a worker opened while the database is away find it when it comes, and do not storm until then', async () => {
  await using database = await createDatabase()
  const away = await mkdtemp('/tmp/queue-')
  const address = parseDatabaseUrl(database.url)
  const url = new URL(database.url)
  url.searchParams.set('host', away)
  const config = readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: url.href })

  const warnings: string[] = []
  const failed = Promise.withResolvers<void>()
  const log = pino(
    {},
    new Writable({
      write: (line, _encoding, done) => {
        warnings.push(String(line))
        failed.resolve()
        done()
      },
    }),
  )
  const built = Promise.withResolvers<string>()
  const queue = openQueue(config, { log })
  const worker = startBuildWorker(config, async (id) => built.resolve(id), { concurrency: 1, log })
  await queue.enqueueBuild({ id: 'lost', attempt: 0 })
  await failed.promise

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
        await queue.enqueueBuild({ id: 'found', attempt: 0 })
        return Promise.race([built.promise, Promise.resolve('not yet')])
      },
      { timeout: 30_000, interval: 100 },
    )
    .toBe('found')
  // A worker tries once a second, this loop ten times: a storm would be thousands of lines.
  expect(warnings.length).toBeLessThan(100)
  await worker.close()
  await queue.close()
  server.close()
})
