import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { copyNative, findPostgres } from './postgres-binaries.ts'

test('two servers that start at once copy the binaries once, whole', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'atl-binaries-'))
  await mkdir(join(folder, 'unused'))
  const { postgres } = await findPostgres(join(folder, 'unused'), { anotherUser: false })
  const native = join(postgres, '../..')
  const target = join(folder, 'copies', 'postgres')
  await Promise.all([1, 2, 3].map(() => copyNative(native, target)))
  expect(await readdir(join(folder, 'copies'))).toEqual(['postgres'])
  expect(await readdir(join(target, 'bin'))).toContain('postgres')
  await rm(folder, { recursive: true })
})
