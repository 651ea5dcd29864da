import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'
import { expect } from 'vitest'
import { type Atelier, test as base } from './support/atelier.ts'
import { FaultProxy, type Seen } from './support/fault-proxy.ts'
import { expectSoundHistory } from './support/history.ts'
import { atOnce } from './support/repo.ts'
import type { TestS3 } from './support/s3.ts'
import { TestServices } from './support/services.ts'

// F8: between the platform and its bucket something goes wrong.
const test = base
  .extend('services', { scope: 'file' }, () => TestServices.start())
  .extend('between', { scope: 'file' }, ({ services }) => FaultProxy.open(services.s3.endpoint))
  .override('platformEnv', { scope: 'file' }, ({ services, between }, { onCleanup }) => {
    onCleanup(async () => {
      await between[Symbol.asyncDispose]()
      await services[Symbol.asyncDispose]()
    })
    return services.env({ endpoint: between.endpoint })
  })

const server = (text: string) => ({
  'package.json': '{ "scripts": { "start": "node server.js" } }',
  'server.js': `require('node:http').createServer((q, a) => a.end('${text}')).listen(process.env.PORT)\n`,
})

test('F8: a bucket that is down: apps are served, also by a proxy that starts anew; a push says why it cannot be; afterwards it can', async ({
  atelier,
  services,
  between,
}) => {
  const site = await atelier.clone(await atelier.createApp('site'))
  const one = await site.commit({ 'index.html': 'one', 'large.txt': 'x'.repeat(2_000_000) })
  await site.push(atOnce)
  const code = await atelier.clone(await atelier.createApp('code'))
  const first = await code.commit(server('one'))
  await code.push(atOnce)

  between.inject({ kind: 'down' })
  try {
    await using siteTraffic = atelier.keepRequesting('site', '/')
    await using codeTraffic = atelier.keepRequesting('code', '/')
    expect((await atelier.get('site', '/large.txt')).body).toHaveLength(2_000_000)
    await site.commit({ 'index.html': 'two' })
    const pushed = await site.tryPush(atOnce)
    expect(pushed.code).toBe(1)
    expect(pushed.stderr).toMatch(
      /the bundle store s3:\/\/bundles at 127\.0\.0\.1:\d+ cannot keep or read sources\/site\//,
    )
    for (const traffic of [siteTraffic, codeTraffic]) {
      await traffic.stop()
      expect(traffic.count).toBeGreaterThan(0)
      expect(traffic.failures).toEqual([])
    }

    await atelier.kill('proxy')
    await expect.poll(() => bodyOf(atelier, 'site')).toBe('one')
    await expect.poll(() => bodyOf(atelier, 'code')).toBe('one')
    expect((await atelier.get('site', '/large.txt')).body).toHaveLength(2_000_000)
  } finally {
    between.heal()
  }

  const { stdout } = await site.git('rev-parse', 'HEAD')
  await site.push(atOnce)
  await expect.poll(() => bodyOf(atelier, 'site')).toBe('two')
  const pushes = [
    { app: 'site', ref: 'refs/heads/main', sha: one },
    { app: 'site', ref: 'refs/heads/main', sha: stdout.trim() },
    { app: 'code', ref: 'refs/heads/main', sha: first },
  ]
  await expectSoundHistory(atelier, pushes, { services })
})

test('F8: a build that cannot be uploaded is made again, and goes live when the bucket is back', async ({
  atelier,
  between,
}) => {
  const repo = await atelier.clone(await atelier.createApp('again'))
  await repo.commit({ 'index.html': 'one' })
  const isBundle = ({ method, path }: Seen) => method === 'PUT' && path.includes('/builds/')
  between.inject({ kind: 'status', status: 500 }, { of: isBundle })
  const pushing = repo.push(atOnce)
  // Five tries of each of the two files that go first.
  await expect.poll(() => between.seen.filter(isBundle).length).toBeGreaterThanOrEqual(10)
  between.heal()
  const { remote } = await pushing
  expect(remote).toContainEqual(
    expect.stringMatching(/^-----> Again .*the bundle store s3:\/\/bundles .*it answers 500/),
  )
  await expect.poll(() => bodyOf(atelier, 'again')).toBe('one')
})

test('F8: late answers and bodies that break off make a push slower and nothing else', async ({ atelier, between }) => {
  const repo = await atelier.clone(await atelier.createApp('slow'))
  await repo.commit(server('slow'))
  between.inject({ kind: 'late', ms: 300 })
  await repo.push(atOnce)
  await expect.poll(() => bodyOf(atelier, 'slow')).toBe('slow')
  await repo.commit(server('broken off'))
  between.inject({ kind: 'cut', at: 100 }, { of: ({ method }) => method === 'GET', times: 3 })
  await repo.push(atOnce)
  await expect.poll(() => bodyOf(atelier, 'slow')).toBe('broken off')
  between.heal()
})

for (const [name, part, files] of [
  ['a page', '/blobs/', { 'index.html': '<h1>wrong</h1>' }],
  ['server code', '/server.tar.zst', server('wrong')],
  ['a manifest', '/manifest.json', { 'index.html': 'wrong manifest' }],
] as const)
  test(`F8, A3: ${name} that arrives with a wrong byte never goes live, and the reason is said and logged`, async ({
    atelier,
    between,
  }) => {
    const app = `wrong-${name.replaceAll(' ', '-')}`
    const repo = await atelier.clone(await atelier.createApp(app))
    await repo.commit(name === 'server code' ? server('right') : { 'index.html': 'right' })
    await repo.push(atOnce)
    await repo.commit(files)
    between.inject({ kind: 'flip' }, { of: ({ method, path }) => method === 'GET' && path.includes(part) })
    const pushed = await repo.tryPush(atOnce)
    between.heal()
    expect(pushed.code).toBe(1)
    expect(pushed.stderr).toMatch(/has the digest [0-9a-f]{64}, not [0-9a-f]{64}/)
    await expect.poll(() => bodyOf(atelier, app)).toBe('right')
    expect(await readFile(join(atelier.home, 'log/proxy.log'), 'utf8')).toContain('STORE_CORRUPT')
  })

const tampering: [string, (bytes: Buffer) => Buffer][] = [
  ['has another byte', (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])])],
  ['is cut short', (bytes) => bytes.subarray(0, bytes.length >> 1)],
  ['was overwritten', () => Buffer.from('{}')],
]
for (const [how, change] of tampering)
  test(`A3: an artifact that ${how} in the bucket is refused; what is live stays live`, async ({
    atelier,
    services,
  }) => {
    const app = `tampered-${tampering.findIndex(([name]) => name === how)}`
    const repo = await atelier.clone(await atelier.createApp(app))
    await repo.commit(server('whole'))
    await repo.push(atOnce)
    for (const name of ['server.tar.zst', 'manifest.json']) {
      const restore = await overwrite(services.s3, { app, name, change })
      const { body } = await atelier.api('POST', 'redeploy', { app_id: app })
      expect(body).toMatch(/has the digest [0-9a-f]{64}, not [0-9a-f]{64}/)
      expect(body).toContain('"ok":false')
      await expect.poll(() => bodyOf(atelier, app)).toBe('whole')
      await restore()
    }
    expect(await readFile(join(atelier.home, 'log/proxy.log'), 'utf8')).toContain('STORE_CORRUPT')
    const { body } = await atelier.api('POST', 'redeploy', { app_id: app })
    expect(body).toContain('"ok":true')
  })

// As somebody with the bucket's keys would. Resolves to how to undo it.
async function overwrite(
  s3: TestS3,
  { app, name, change }: { app: string; name: string; change: (bytes: Buffer) => Buffer },
): Promise<() => Promise<unknown>> {
  const Bucket = s3.bucket
  const client = s3.client()
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: `builds/${app}/` }))
  const Key = Contents.find((object) => object.Key?.endsWith(name))?.Key
  const object = await client.send(new GetObjectCommand({ Bucket, Key }))
  const bytes = Buffer.from((await object.Body?.transformToByteArray()) ?? [])
  const put = (Body: Buffer) => client.send(new PutObjectCommand({ Bucket, Key, Body }))
  await put(change(bytes))
  return () => put(bytes)
}

async function bodyOf(atelier: Atelier, app: string): Promise<string> {
  return (await atelier.get(app, '/')).body
}
