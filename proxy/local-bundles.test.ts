import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileStore } from '../registry/bundle-store/file.ts'
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

  await bundles.prune({ apps: new Set(['kept']), isWanted: (id) => id === 'd9' })
  expect((await readdir(join(root, 'apps/kept'))).sort()).toEqual(['d0', 'd1', 'd2', 'd3', 'd4', 'd9'])
  expect(await readdir(join(root, 'apps/gone'))).toEqual([])
  await rm(root, { recursive: true })
})
