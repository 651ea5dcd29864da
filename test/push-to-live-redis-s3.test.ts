import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { expect } from 'vitest'
import { describePushToLive } from './support/push-to-live.ts'
import { testOnServices as test } from './support/services.ts'

// The same path with nothing embedded: Postgres, Redis and the bucket are services of their own.
describePushToLive(test)

test('it was Redis that woke the worker and the bucket that kept the bundles', async ({ atelier, services }) => {
  const repo = await atelier.clone(await atelier.createApp('where'))
  const sha = await repo.commit({ 'index.html': 'in the bucket' })
  await services.redis.command('CONFIG', 'RESETSTAT')
  await repo.push()
  expect(await services.redis.command('INFO', 'commandstats')).toMatch(/cmdstat_evalsha/)
  const { Contents = [] } = await services.s3.client().send(new ListObjectsV2Command({ Bucket: services.s3.bucket }))
  expect(Contents.map(({ Key }) => Key)).toEqual(
    expect.arrayContaining([
      `sources/where/${sha}.tar.zst`,
      expect.stringMatching(new RegExp(`^builds/where/${sha}/[a-z0-9]+/manifest.json$`)),
    ]),
  )
  expect(await readdir(join(atelier.home, 'store'), { recursive: true })).toEqual([])
  expect(await readdir(atelier.home)).not.toContain('postgres')
})
