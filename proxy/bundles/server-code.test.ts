import { createHash } from 'node:crypto'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import { Header, type HeaderData } from 'tar'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { unpackServerCode } from './server-code.ts'

let root: string
let store: FileStore

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'atl-code-'))
  store = new FileStore(join(root, 'store'))
})

afterEach(() => rm(root, { recursive: true, force: true }))

type Entry = HeaderData & { path: string; text?: string }

// Archives that no honest packer writes: headers by hand.
function archive(entries: Entry[]): Buffer {
  return zstdCompressSync(Buffer.concat([tarOf(entries), Buffer.alloc(1024)]))
}

function tarOf(entries: Entry[]): Buffer {
  const blocks = entries.flatMap(({ text = '', ...data }) => {
    const header = Buffer.alloc(512)
    new Header({ mode: 0o644, uid: 0, gid: 0, size: text.length, type: 'File', mtime: new Date(0), ...data }).encode(
      header,
    )
    const body = Buffer.alloc(Math.ceil(text.length / 512) * 512)
    body.write(text)
    return [header, body]
  })
  return Buffer.concat(blocks)
}

async function unpack(entries: Entry[], limits?: { maxEntries: number; maxBytes: number }): Promise<string> {
  const bytes = archive(entries)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  await store.put('server.tar.zst', bytes)
  const directory = join(root, 'app/code')
  await unpackServerCode(store, { key: 'server.tar.zst', sha256 }, directory, { limits })
  return directory
}

test('code is unpacked so that another user may read it and nobody may write it but its owner', async () => {
  const directory = await unpack([
    { path: 'index.js', text: 'main', mode: 0o600 },
    { path: 'bin/', type: 'Directory', mode: 0o700 },
    { path: 'bin/run', text: 'run', mode: 0o4777 },
    { path: 'node_modules/.bin/run', type: 'SymbolicLink', linkpath: '../../bin/run' },
  ])
  expect(await readFile(join(directory, 'node_modules/.bin/run'), 'utf8')).toBe('run')
  const modeOf = async (path: string) => ((await stat(join(directory, path))).mode & 0o7777).toString(8)
  expect(await Promise.all(['.', 'bin', 'bin/run', 'index.js'].map(modeOf))).toEqual(['755', '755', '755', '644'])
  expect(await readdir(join(root, 'app'))).toEqual(['code'])
})

test.each<[string, Entry[]]>([
  ['a path that steps out', [{ path: '../outside', text: 'x' }]],
  ['a path that steps out later', [{ path: 'a/../../outside', text: 'x' }]],
  ['an absolute path', [{ path: '/tmp/atl-outside', text: 'x' }]],
  ['a link that leads out', [{ path: 'link', type: 'SymbolicLink', linkpath: '../../etc' }]],
  ['an absolute link', [{ path: 'link', type: 'SymbolicLink', linkpath: '/etc' }]],
  [
    'a link that steps up after stepping in',
    [{ path: 'a/b/link', type: 'SymbolicLink', linkpath: '../x/../../../..' }],
  ],
  [
    'a file written through a link',
    [
      { path: 'd', type: 'SymbolicLink', linkpath: 'e' },
      { path: 'd/x', text: 'x' },
    ],
  ],
  [
    'a hard link',
    [
      { path: 'a', text: 'x' },
      { path: 'b', type: 'Link', linkpath: 'a' },
    ],
  ],
  ['a device', [{ path: 'null', type: 'CharacterDevice', devmaj: 1, devmin: 3 }]],
  ['a named pipe', [{ path: 'pipe', type: 'FIFO' }]],
])('A1: %s is refused, and nothing is left of the archive', async (_name, entries) => {
  await expect(unpack([{ path: 'index.js', text: 'main' }, ...entries])).rejects.toThrow()
  expect(await readdir(join(root, 'app'))).toEqual([])
  await expect(lstat(join(root, 'app/outside'))).rejects.toThrow('ENOENT')
})

test('A1: too many entries and too many bytes are refused', async () => {
  const entries = Array.from({ length: 20 }, (_, index) => ({ path: `f${index}`, text: 'x'.repeat(100) }))
  await expect(unpack(entries, { maxEntries: 10, maxBytes: 1e9 })).rejects.toThrow('more than 10 entries')
  await expect(unpack(entries, { maxEntries: 100, maxBytes: 1_000 })).rejects.toThrow('more than 1000 bytes')
})

test('A3: an archive with another digest is not unpacked', async () => {
  await store.put('server.tar.zst', archive([{ path: 'index.js', text: 'main' }]))
  const unpacking = unpackServerCode(store, { key: 'server.tar.zst', sha256: '0'.repeat(64) }, join(root, 'app/code'))
  await expect(unpacking).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
  expect(await readdir(join(root, 'app'))).toEqual([])
})

test('the dependencies of two versions are unpacked once and linked into both', async () => {
  const modulesFrame = zstdCompressSync(
    tarOf([
      { path: 'node_modules/dep/index.js', text: 'dependency' },
      { path: 'node_modules/.bin/dep', type: 'SymbolicLink', linkpath: '../dep/index.js' },
    ]),
  )
  const unpackVersion = async (name: string) => {
    const own = zstdCompressSync(tarOf([{ path: 'index.js', text: name }]))
    const bytes = Buffer.concat([own, modulesFrame, zstdCompressSync(Buffer.alloc(1024))])
    const digest = (of: Buffer) => createHash('sha256').update(of).digest('hex')
    await store.put(name, bytes)
    const modules = { offset: own.length, size: modulesFrame.length, sha256: digest(modulesFrame) }
    const directory = join(root, 'app', name)
    const modulesDirectory = join(root, 'app/.modules')
    await unpackServerCode(store, { key: name, sha256: digest(bytes), modules }, directory, { modulesDirectory })
    return directory
  }
  const [one, two] = await Promise.all([unpackVersion('one'), unpackVersion('two')])
  expect(await readFile(join(one, 'index.js'), 'utf8')).toBe('one')
  expect(await readFile(join(two, 'node_modules/.bin/dep'), 'utf8')).toBe('dependency')
  const inodes = await Promise.all(
    [one, two].map(async (at) => (await stat(join(at, 'node_modules/dep/index.js'))).ino),
  )
  expect(new Set(inodes).size).toBe(1)
})

async function unpackWithModules(unpackedModules: string): Promise<string> {
  const own = zstdCompressSync(tarOf([{ path: 'index.js', text: 'main' }]))
  const frame = zstdCompressSync(tarOf([{ path: 'node_modules/pkg/index.js', text: 'packed' }]))
  const bytes = Buffer.concat([own, frame, zstdCompressSync(Buffer.alloc(1024))])
  const digest = (content: Buffer) => createHash('sha256').update(content).digest('hex')
  await store.put('server.tar.zst', bytes)
  const modules = { offset: own.length, size: frame.length, sha256: digest(frame) }
  const directory = join(root, 'app/code')
  const places = { modulesDirectory: join(root, 'app/.modules'), unpackedModules }
  await unpackServerCode(store, { key: 'server.tar.zst', sha256: digest(bytes), modules }, directory, places)
  return directory
}

test('dependencies that a build worker has left unpacked are linked from there', async () => {
  const unpacked = join(root, 'unpacked')
  await mkdir(join(unpacked, 'node_modules/pkg'), { recursive: true })
  await writeFile(join(unpacked, 'node_modules/pkg/index.js'), 'linked')
  await symlink(unpacked, join(root, 'offered'))
  const directory = await unpackWithModules(join(root, 'offered'))
  const [ours, theirs] = await Promise.all(
    [directory, unpacked].map((at) => stat(join(at, 'node_modules/pkg/index.js'))),
  )
  expect(ours?.ino).toBe(theirs?.ino)
  expect(await readFile(join(directory, 'index.js'), 'utf8')).toBe('main')
})

test('dependencies that a build worker has left unpacked and that are gone by now are unpacked', async () => {
  await symlink(join(root, 'gone'), join(root, 'offered'))
  const directory = await unpackWithModules(join(root, 'offered'))
  expect(await readFile(join(directory, 'node_modules/pkg/index.js'), 'utf8')).toBe('packed')
  expect(await readFile(join(directory, 'index.js'), 'utf8')).toBe('main')
})
