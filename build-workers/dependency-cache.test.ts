import {
  appendFileSync,
  createReadStream,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { DependencyCache } from './dependency-cache.ts'
import { moveRoots } from './module-tree.ts'
import { unpack } from './source.ts'

const scratch = await mkdtemp(join(tmpdir(), 'dependencies-'))
afterAll(() => rm(scratch, { recursive: true }))
let made = 0

test('what was kept is put back as links, with generated clients as copies', async () => {
  const { cache, app } = await kept('key')
  const into = next()
  expect(await cache.restore('key', into, null)).toEqual(['node_modules'])
  const restored = next()
  mkdirSync(restored)
  moveRoots(['node_modules'], into, restored)
  expect(readFileSync(join(restored, 'node_modules/pkg/index.js'), 'utf8')).toBe('module.exports = 1')
  expect(readlinkSync(join(restored, 'node_modules/.bin/pkg'))).toBe('../pkg/index.js')
  expect(inode(join(restored, 'node_modules/pkg/index.js'))).toBe(inode(join(app, 'node_modules/pkg/index.js')))
  expect(inode(join(restored, 'node_modules/.prisma/client.js'))).not.toBe(
    inode(join(app, 'node_modules/.prisma/client.js')),
  )
})

test('a key nobody kept is a miss', async () => {
  const { cache } = await kept('key')
  expect(await cache.restore('other', next(), null)).toBeNull()
})

test('a build that writes into a linked file spoils the entry, and nobody gets it again', async () => {
  const { cache } = await kept('key')
  const into = next()
  await cache.restore('key', into, null)
  appendFileSync(join(into, 'node_modules/pkg/index.js'), '// patched')
  expect(await cache.restore('key', next(), null)).toBeNull()
  expect(await cache.archive('key', { withGenerated: true, owner: null })).toBeNull()
})

test('writing a new file or a generated client does not spoil it', async () => {
  const { cache } = await kept('key')
  const into = next()
  await cache.restore('key', into, null)
  mkdirSync(join(into, 'node_modules/.vite-temp'))
  writeFileSync(join(into, 'node_modules/.prisma/client.js'), 'again')
  expect(await cache.restore('key', next(), null)).toEqual(['node_modules'])
})

test('the archive of an entry unpacks to the same modules', async () => {
  const { cache } = await kept('key')
  const made = await cache.archive('key', { withGenerated: true, owner: null })
  const into = next()
  const tree = await unpack(createReadStream(made?.frame ?? ''), into, {
    limits: { files: 100, bytes: 1e6 },
    owner: null,
  })
  expect([...tree.paths()].sort()).toEqual(['node_modules/.prisma/client.js', 'node_modules/pkg/index.js'])

  const placed = next()
  mkdirSync(placed)
  made?.place(placed)
  expect(readFileSync(join(placed, 'node_modules/.prisma/client.js'), 'utf8')).toBe('generated')
  expect(readlinkSync(join(placed, 'node_modules/.bin/pkg'))).toBe('../pkg/index.js')

  const plain = await cache.archive('key', { withGenerated: false, owner: null })
  const unpacked = await unpack(createReadStream(plain?.frame ?? ''), next(), {
    limits: { files: 100, bytes: 1e6 },
    owner: null,
  })
  expect([...unpacked.paths()]).toEqual(['node_modules/pkg/index.js'])
})

test('dependencies are lent as one symlink, while nobody has written to them', async () => {
  const { cache } = await kept('key')
  const app = next()
  mkdirSync(app)
  expect(await cache.lend('key', app, null)).toBe(true)
  expect(readFileSync(join(app, 'node_modules/pkg/index.js'), 'utf8')).toBe('module.exports = 1')
  appendFileSync(join(app, 'node_modules/pkg/index.js'), '// patched')
  const other = next()
  mkdirSync(other)
  expect(await cache.lend('key', other, null)).toBe(false)
})

test.each([
  'index.json',
  'archive/index.json',
  'archive/modules.tar.zst',
  'archive/unpacked/node_modules/pkg/index.js',
])('an entry whose %s is cut short is thrown away with a line, and kept anew', async (file) => {
  const { cache, app, directory, said } = await kept('key')
  const form = { withGenerated: true, owner: null }
  expect(await cache.archive('key', form)).not.toBeNull()
  truncateSync(join(directory, 'key', file), 5)
  if (file.startsWith('archive')) expect(await cache.archive('key', form)).not.toBeNull()
  else expect(await cache.restore('key', next(), null)).toBeNull()
  expect(said).toEqual(['the dependencies that were kept are not as they were any more, and are thrown away'])

  await cache.keep('key', app, { roots: ['node_modules'], owner: null })
  expect(await cache.restore('key', next(), null)).toEqual(['node_modules'])
  expect(await cache.archive('key', form)).not.toBeNull()
  expect(said).toHaveLength(1)
})

test('only the entries used last are kept, and leftovers of a killed worker go', async () => {
  const { cache, directory, app } = await kept('key-0')
  for (const at of [1, 2, 3, 4, 5]) await cache.keep(`key-${at}`, app, { roots: ['node_modules'], owner: null })
  mkdirSync(join(directory, '.making-x'))
  await cache.sweep()
  expect((await readdir(directory)).length).toBe(4)
})

async function kept(key: string) {
  const app = next()
  mkdirSync(join(app, 'node_modules/pkg'), { recursive: true })
  mkdirSync(join(app, 'node_modules/.bin'))
  mkdirSync(join(app, 'node_modules/.prisma'))
  mkdirSync(join(app, 'node_modules/.cache'))
  writeFileSync(join(app, 'node_modules/pkg/index.js'), 'module.exports = 1')
  writeFileSync(join(app, 'node_modules/.prisma/client.js'), 'generated')
  writeFileSync(join(app, 'node_modules/.cache/junk'), 'junk')
  symlinkSync('../pkg/index.js', join(app, 'node_modules/.bin/pkg'))
  const directory = next()
  const said: string[] = []
  const cache = new DependencyCache(directory, { say: (line) => said.push(line) })
  await cache.keep(key, app, { roots: ['node_modules'], owner: null })
  return { cache, app, directory, said }
}

function next(): string {
  return join(scratch, String(made++))
}

function inode(path: string): number {
  return statSync(path).ino
}
