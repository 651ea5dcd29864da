import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { BlobFiles } from './blob-files.ts'
import { LocalBundles } from './local-bundles.ts'

test('copies of deployments nobody needs leave the disk: the wanted and the five youngest of an app stay', async () => {
  const root = await mkdtemp(join(tmpdir(), 'atl-bundles-'))
  const store = new FileStore(join(root, 'store'))
  const bundles = new LocalBundles(join(root, 'apps'), { store, blobs: new BlobFiles(store, join(root, 'blobs')) })
  for (let age = 0; age < 10; age++) {
    const directory = join(root, 'apps/kept', `d${age}`)
    await mkdir(join(directory, 'code'), { recursive: true })
    const at = new Date(Date.now() - age * 60_000)
    await utimes(directory, at, at)
  }
  await mkdir(join(root, 'apps/gone/d1'), { recursive: true })

  await bundles.prune({ apps: new Set(['kept']), isWanted: (id) => id === 'd9', isRetained: () => false })
  expect((await readdir(join(root, 'apps/kept'))).sort()).toEqual(['d0', 'd1', 'd2', 'd3', 'd4', 'd9'])
  expect(await readdir(join(root, 'apps/gone'))).toEqual([])
  await rm(root, { recursive: true })
})

test('of a bundle that is kept for open pages the manifest stays, and no other copy leaves the disk for it', async () => {
  const root = await mkdtemp(join(tmpdir(), 'atl-bundles-'))
  const store = new FileStore(join(root, 'store'))
  const bundles = new LocalBundles(join(root, 'apps'), { store, blobs: new BlobFiles(store, join(root, 'blobs')) })
  const app = join(root, 'apps/app')
  for (const id of ['d1', 'd2', 'd3', 'd4', 'd5']) await mkdir(join(app, id, 'code'), { recursive: true })
  await mkdir(join(app, 'old/code'), { recursive: true })
  await writeFile(join(app, 'old/manifest.json'), '{}')
  await utimes(join(app, 'old'), 0, 0)
  await bundles.prune({ apps: new Set(['app']), isWanted: () => false, isRetained: (id) => id === 'old' })
  expect((await readdir(app)).sort()).toEqual(['d1', 'd2', 'd3', 'd4', 'd5', 'old'])
  expect(await readdir(join(app, 'old'))).toEqual(['manifest.json'])
  expect(await readdir(join(app, 'd1'))).toEqual(['code'])
  await rm(root, { recursive: true })
})

/** A store as a bucket is: nothing of it is on this machine. */
class Elsewhere extends FileStore {
  override localPath(): null {
    return null
  }
}

test('copies of blobs from a store elsewhere are checked when they come, and go with the last bundle that refers to them', async () => {
  const root = await mkdtemp(join(tmpdir(), 'atl-bundles-'))
  const store = new Elsewhere(join(root, 'store'))
  const blobs = new BlobFiles(store, join(root, 'blobs'))
  const bundles = new LocalBundles(join(root, 'apps'), { store, blobs })
  const long = new Date(Date.now() - 3_600_000)
  const bring = async (text: string) => {
    const blob = { sha256: createHash('sha256').update(text).digest('hex'), size: text.length }
    await store.put(`blobs/${blob.sha256}`, Buffer.from(text))
    await blobs.ensure(blob)
    await utimes(join(root, 'blobs', blob.sha256), long, long)
    return blob.sha256
  }
  const [both, kept, dropped] = await Promise.all(['both', 'kept', 'dropped'].map(bring))
  const young = { sha256: createHash('sha256').update('young').digest('hex'), size: 5 }
  await store.put(`blobs/${young.sha256}`, Buffer.from('young'))
  await blobs.ensure(young)
  for (const [app, digests] of [
    ['kept', [both, kept]],
    ['gone', [both, dropped]],
  ] as const) {
    await mkdir(join(root, 'apps', app, 'd1'), { recursive: true })
    await writeFile(join(root, 'apps', app, 'd1/manifest.json'), JSON.stringify({ files: digests }))
  }

  await bundles.prune({ apps: new Set(['kept']), isWanted: () => false, isRetained: () => false })
  expect((await readdir(join(root, 'blobs'))).sort()).toEqual([both, kept, young.sha256].sort())

  const wrong = { sha256: '0'.repeat(64), size: 5 }
  await store.put(`blobs/${wrong.sha256}`, Buffer.from('wrong'))
  await expect(blobs.ensure(wrong)).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
  expect(await readdir(join(root, 'blobs'))).not.toContain(wrong.sha256)
  await rm(root, { recursive: true })
})
