import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, describe, expect, test } from 'vitest'
import { TestS3 } from '../../test/support/s3.ts'
import { readConfig } from '../config.ts'
import type { BundleStore } from './contract.ts'
import { FileStore } from './file.ts'
import { blobKey, buildLogKey, buildPrefix, manifestKey, routesKey, serverKey, sourceKey } from './keys.ts'
import { openStore } from './open.ts'
import { S3Store } from './s3.ts'
import { parseS3Url } from './s3-address.ts'

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const root = await mkdtemp(join(tmpdir(), 'store-'))
const [conditional, plain] = await Promise.all([TestS3.start(), TestS3.start({ writes: 'plain' })])
afterAll(() => Promise.all([conditional[Symbol.asyncDispose](), plain[Symbol.asyncDispose]()]))
const onS3 = (s3: TestS3, prefix = '') => {
  const { storeUrl, s3Keys } = readConfig({ ATELIER_HOME: root, ...s3.env({ prefix }) })
  return new S3Store(parseS3Url(storeUrl), { keys: s3Keys, keysPerPage: 50 })
}
const stores: [string, BundleStore][] = [
  ['file', new FileStore(root)],
  ['S3', await openStore(readConfig({ ATELIER_HOME: root, ...conditional.env() }))],
  ['S3 (below a prefix)', onS3(conditional, 'team/atelier')],
  ['S3 (without conditional writes)', onS3(plain)],
]

describe.each(stores)('the %s store', (_name, store) => {
  test('gives back what was put, from a buffer and from a stream', async () => {
    const bytes = randomBytes(300_000)
    await store.put('blobs/one', bytes)
    await store.put('blobs/two', Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]))
    await store.put('blobs/empty', Buffer.alloc(0))
    await store.put('blobs/empty-too', Readable.from([]))
    expect((await buffer(await store.get('blobs/one'))).equals(bytes)).toBe(true)
    expect((await buffer(await store.get('blobs/two'))).equals(bytes)).toBe(true)
    expect(await buffer(await store.get('blobs/empty'))).toHaveLength(0)
    expect(await buffer(await store.get('blobs/empty-too'))).toHaveLength(0)
  })

  test('takes a stream of twenty megabytes whose size nobody knows, and its digest', async () => {
    const part = randomBytes(1_048_576)
    const bytes = Buffer.concat(Array.from({ length: 20 }, () => part))
    await store.put('blobs/large', Readable.from(Array.from({ length: 20 }, () => part)), { sha256: digest(bytes) })
    expect(digest(await buffer(await store.get('blobs/large')))).toBe(digest(bytes))
    const other = Readable.from(Array.from({ length: 20 }, () => randomBytes(1_048_576)))
    await expect(store.put('blobs/large-forged', other, { sha256: digest(bytes) })).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
    })
    expect(await store.has(['blobs/large', 'blobs/large-forged'])).toEqual(new Set(['blobs/large']))
  })

  test('A3: never changes the bytes of a key, from a buffer or a stream, also when twenty writers come at once', async () => {
    const bodies = Array.from({ length: 20 }, () => randomBytes(1000))
    await Promise.all(bodies.map((body) => store.put('blobs/contended', body)))
    const kept = await buffer(await store.get('blobs/contended'))
    expect(bodies.some((body) => body.equals(kept))).toBe(true)
    await store.put('blobs/contended', Buffer.from('other'))
    await store.put('blobs/contended', Readable.from([Buffer.from('other')]))
    await store.put('blobs/contended', Readable.from(Array.from({ length: 10 }, () => randomBytes(1_048_576))))
    expect((await buffer(await store.get('blobs/contended'))).equals(kept)).toBe(true)
  })

  test('A3: refuses bytes of another digest and keeps nothing of them', async () => {
    const sha256 = digest(Buffer.from('good'))
    for (const body of [Buffer.from('evil'), Readable.from([Buffer.from('evil')])])
      await expect(store.put('blobs/forged', body, { sha256 })).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
    expect(await store.has(['blobs/forged'])).toEqual(new Set())
    await store.put('blobs/forged', Buffer.from('good'), { sha256 })
    expect(await store.has(['blobs/forged'])).toEqual(new Set(['blobs/forged']))
  })

  test('A3: a body that breaks off leaves nothing', async () => {
    for (const megabytes of [1, 20]) {
      const broken = Readable.from(
        (async function* () {
          for (let at = 0; at < megabytes; at += 1) yield randomBytes(1_048_576)
          throw new Error('cut off')
        })(),
      )
      await expect(store.put('blobs/half', broken)).rejects.toThrow('cut off')
    }
    expect(await store.has(['blobs/half'])).toEqual(new Set())
  })

  test('says what it has, lists below a prefix, and forgets what is removed', async () => {
    const manifest = 'builds/a/1.0.0/abcdef/manifest.json'
    await store.put(manifest, Buffer.from('{}'))
    expect(await store.has([manifest, 'blobs/none'])).toEqual(new Set([manifest]))
    expect(await store.list('builds/a/1.0.0/abcdef/')).toEqual([manifest])
    expect(await store.list('builds/none/')).toEqual([])
    await store.remove(manifest)
    await store.remove(manifest)
    expect(await store.list('builds/a/1.0.0/abcdef/')).toEqual([])
  })

  test('handles many small blobs at once, and lists more than a page of them', async () => {
    const keys = Array.from({ length: 130 }, (_, at) => `builds/many/1.0.0/abcdef/${at}`)
    const waiting = keys.values()
    const putAll = async () => {
      for (const key of waiting) await store.put(key, Buffer.from(key))
    }
    await Promise.all(Array.from({ length: store.atOnce }, putAll))
    expect((await store.list('builds/many/')).toSorted()).toEqual(keys.toSorted())
    expect(await store.has([...keys, 'builds/many/none'])).toEqual(new Set(keys))
    await store.remove(keys)
    expect(await store.list('builds/many/')).toEqual([])
  })

  test('a key that is not there is named', async () => {
    await expect(store.get('blobs/none')).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('has no blobs/none'),
    })
  })

  test('A2: cannot be left by a key', async () => {
    for (const key of ['../../etc/passwd', 'blobs/../../x', '/etc/passwd/../x/../..'])
      await expect(store.get(key)).rejects.toThrow('leaves the store')
  })
})

test('the file store leaves no temporary files', async () => {
  expect(await readdir(join(root, 'tmp'))).toEqual([])
})

describe('A2: keys', () => {
  const build = 'abcdef123456'
  const sha = 'a'.repeat(40)
  const makers = (app: string, version: string) => [
    () => sourceKey(app, version),
    ...[manifestKey, routesKey, buildLogKey, serverKey, buildPrefix].map((make) => () => make({ app, version, build })),
  ]

  test.each([
    '../../b/x',
    'a'.repeat(39),
    'a'.repeat(65),
    'A'.repeat(40),
    'a'.repeat(41).toUpperCase(),
    `${'a'.repeat(40)}%2f`,
    `${'a'.repeat(40)}/x`,
    `${'a'.repeat(40)}\n`,
    `${'a'.repeat(40)}\0`,
    '',
    'main',
    '1.2',
    '1.2.3-../..',
    '1.2.3-/x',
  ])('the version %j makes none', (version) => {
    for (const make of makers('hello', version)) expect(make).toThrow()
  })

  test.each(['../x', 'A', '', 'x-pr-1', 'a/b', 'a%2fb', 'a\\b', '.', 'ü'])('the app %j makes none', (app) => {
    for (const make of makers(app, sha)) expect(make).toThrow()
  })

  test.each(['../x', 'abc', '', 'a/b/c/d', 'ABCDEF', 'a'.repeat(33)])('the build %j makes none', (made) => {
    expect(() => manifestKey({ app: 'hello', version: sha, build: made })).toThrow()
  })

  test.each(['../x', 'zz', '', 'A'.repeat(64), 'a'.repeat(63), `${'a'.repeat(64)}/`])(
    'the digest %j makes none',
    (sha256) => {
      expect(() => blobKey(sha256)).toThrow()
    },
  )

  test('a whole SHA, a time and a release make keys below their app', () => {
    for (const version of [sha, 'a'.repeat(64), '20260328-153042', '1.2.3', '1.2.3-rc.1'])
      for (const make of makers('hello', version)) expect(make()).toMatch(/^(sources|builds)\/hello\//)
  })
})

test('F4: what a killed process was writing is removed at the next start, and what others write is left', async () => {
  const home = await mkdtemp(join(tmpdir(), 'store-'))
  await mkdir(join(home, 'tmp'))
  const ended = spawnSync('true').pid
  const names = [`${hostname()}.${ended}.dead`, `${hostname()}.${process.pid}.mine`, `elsewhere.${ended}.theirs`]
  for (const name of names) await writeFile(join(home, 'tmp', name), 'half')
  await openStore({ storeUrl: `file:${home}`, s3Keys: null })
  expect((await readdir(join(home, 'tmp'))).sort()).toEqual(names.slice(1).sort())
  await rm(home, { recursive: true })
})
