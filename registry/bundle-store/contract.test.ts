import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import type { BundleStore } from './contract.ts'
import { FileStore } from './file.ts'
import { blobKey, manifestKey, sourceKey } from './keys.ts'

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const root = await mkdtemp(join(tmpdir(), 'store-'))
const stores: [string, BundleStore][] = [['file', new FileStore(root)]]

describe.each(stores)('the %s store', (_name, store) => {
  test('gives back what was put, from a buffer and from a stream', async () => {
    const bytes = randomBytes(300_000)
    await store.put('blobs/one', bytes)
    await store.put('blobs/two', Readable.from([bytes.subarray(0, 10), bytes.subarray(10)]))
    expect((await buffer(await store.get('blobs/one'))).equals(bytes)).toBe(true)
    expect((await buffer(await store.get('blobs/two'))).equals(bytes)).toBe(true)
  })

  test('never changes the bytes of a key, also when twenty writers come at once', async () => {
    const bodies = Array.from({ length: 20 }, () => randomBytes(1000))
    await Promise.all(bodies.map((body) => store.put('blobs/contended', body)))
    const kept = await buffer(await store.get('blobs/contended'))
    expect(bodies.some((body) => body.equals(kept))).toBe(true)
    await store.put('blobs/contended', Buffer.from('other'))
    expect((await buffer(await store.get('blobs/contended'))).equals(kept)).toBe(true)
  })

  test('refuses bytes of another digest and keeps nothing of them', async () => {
    await expect(
      store.put('blobs/forged', Buffer.from('evil'), { sha256: digest(Buffer.from('good')) }),
    ).rejects.toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
    expect(await store.has(['blobs/forged'])).toEqual(new Set())
  })

  test('a body that breaks off leaves nothing', async () => {
    const broken = Readable.from(
      (async function* () {
        yield Buffer.from('half')
        throw new Error('cut off')
      })(),
    )
    await expect(store.put('blobs/half', broken)).rejects.toThrow('cut off')
    expect(await store.has(['blobs/half'])).toEqual(new Set())
  })

  test('says what it has, lists below a prefix, and forgets what is removed', async () => {
    await store.put('builds/a/1.0.0/abcdef/manifest.json', Buffer.from('{}'))
    expect(await store.has(['builds/a/1.0.0/abcdef/manifest.json', 'blobs/none'])).toEqual(
      new Set(['builds/a/1.0.0/abcdef/manifest.json']),
    )
    expect(await store.list('builds/a/1.0.0/abcdef/')).toEqual(['builds/a/1.0.0/abcdef/manifest.json'])
    expect(await store.list('builds/none/')).toEqual([])
    await store.remove('builds/a/1.0.0/abcdef/manifest.json')
    await store.remove('builds/a/1.0.0/abcdef/manifest.json')
    expect(await store.list('builds/a/1.0.0/abcdef/')).toEqual([])
  })

  test('a key that is not there is named', async () => {
    await expect(store.get('blobs/none')).rejects.toThrow('has no blobs/none')
  })
})

test('the file store leaves no temporary files', async () => {
  expect(await readdir(join(root, 'tmp'))).toEqual([])
})

test('the file store cannot be left by a key', async () => {
  await expect(new FileStore(root).get('../../etc/passwd')).rejects.toThrow('leaves the store')
})

describe('keys', () => {
  test.each(['../../b/x', 'a'.repeat(39), 'a'.repeat(41).toUpperCase(), `${'a'.repeat(40)}%2f`, '', 'main', '1.2'])(
    'the version %j makes no key',
    (version) => {
      expect(() => sourceKey('hello', version)).toThrow()
      expect(() => manifestKey({ app: 'hello', version, build: 'abcdef' })).toThrow()
    },
  )

  test.each(['../x', 'A', '', 'x-pr-1'])('the app %j makes no key', (app) => {
    expect(() => sourceKey(app, 'a'.repeat(40))).toThrow()
  })

  test.each(['../x', 'zz', '', 'A'.repeat(64)])('the digest %j makes no key', (sha256) => {
    expect(() => blobKey(sha256)).toThrow()
  })
})
