import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { expect, test } from 'vitest'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import { createDatabase } from '../test/support/database.ts'
import { startTestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

test('a push of 100 MB arrives whole, and the gateway does not hold it in memory', async () => {
  await using database = await createDatabase()
  await using gateway = await startTestGateway(database)
  await using repo = await makeRepo(gateway.url('large'))
  await repo.git('config', 'core.compression', '0')
  const random = Readable.from(Array.from({ length: 100 }, () => randomBytes(1_048_576)))
  await pipeline(random, createWriteStream(join(repo.path, 'random.bin')))
  const sha = await repo.commit({})
  const before = process.memoryUsage().rss
  const pushed = await repo.push('main')
  expect(pushed).toMatchObject({ code: 0, stderr: expect.stringContaining('* [new branch]      main -> main') })
  expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1_048_576)

  const source = gateway.store.localPath(sourceKey('large', sha)) ?? ''
  expect((await stat(source)).size).toBeGreaterThan(100 * 1_048_576)
  expect(await gateway.refs('large')).toEqual({ 'refs/heads/main': sha })
})
