import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { zstdCompressSync } from 'node:zlib'
import { Header, type HeaderData } from 'tar'
import { afterAll, expect, test } from 'vitest'
import { staysInside } from './links.ts'
import { unpack } from './source.ts'

const scratch = await mkdtemp(join(tmpdir(), 'source-'))
afterAll(() => rm(scratch, { recursive: true }))
let made = 0

type Entry = HeaderData & { body?: string | Buffer }

test('files, folders and links inside the app are unpacked with their modes', async () => {
  const { into, tree } = await unpackEntries([
    { path: './', type: 'Directory' },
    { path: 'src/', type: 'Directory' },
    { path: 'src/index.ts', body: 'export {}', mode: 0o644 },
    { path: 'run.sh', body: '#!/bin/sh', mode: 0o4755 },
    { path: 'deep/er/file', body: 'x' },
    { path: 'deep/link', type: 'SymbolicLink', linkpath: '../src/index.ts' },
    { path: '.git/config', body: 'secret' },
  ])
  expect(readFileSync(join(into, 'src/index.ts'), 'utf8')).toBe('export {}')
  expect(lstatSync(join(into, 'run.sh')).mode & 0o7777).toBe(0o755)
  expect(readlinkSync(join(into, 'deep/link'))).toBe('../src/index.ts')
  expect(readdirSync(into).sort()).toEqual(['deep', 'run.sh', 'src'])
  expect([...tree.paths()].sort()).toEqual(['deep/er/file', 'run.sh', 'src/index.ts'])
  expect(tree.read('src/index.ts')).toBe('export {}')
  expect(tree.read('nothing')).toBeNull()
})

test.each<[string, Entry[], string]>([
  ['a path upwards', [{ path: '../out', body: 'x' }], '"../out"'],
  ['a path upwards in the middle', [{ path: 'a/../../out', body: 'x' }], '"a/../../out"'],
  ['an absolute path', [{ path: '/etc/cron.d/x', body: 'x' }], '"/etc/cron.d/x"'],
  ['a name with a line break', [{ path: 'a\nb', body: 'x' }], '"a\\nb"'],
  [
    'a link out of the app',
    [{ path: 'a/l', type: 'SymbolicLink', linkpath: '../../etc' }],
    'a/l is a symlink to "../../etc"',
  ],
  [
    'an absolute link',
    [{ path: 'l', type: 'SymbolicLink', linkpath: '/etc/passwd' }],
    'l is a symlink to "/etc/passwd"',
  ],
  [
    'a link through a link',
    [
      { path: 'd/down', type: 'SymbolicLink', linkpath: '../top' },
      { path: 'x', type: 'SymbolicLink', linkpath: 'd/down/../..' },
    ],
    'x is a symlink',
  ],
  [
    'a file through a link',
    [
      { path: 'l', type: 'SymbolicLink', linkpath: 'd' },
      { path: 'l/file', body: 'x' },
    ],
    'EEXIST',
  ],
  ['a hard link', [{ path: 'h', type: 'Link', linkpath: '/etc/passwd' }], 'h is a Link'],
  ['a device', [{ path: 'dev', type: 'CharacterDevice' }], 'dev is a CharacterDevice'],
  ['a fifo', [{ path: 'pipe', type: 'FIFO' }], 'pipe is a FIFO'],
  [
    'a name twice',
    [
      { path: 'a', body: '1' },
      { path: 'a', body: '2' },
    ],
    'EEXIST',
  ],
  ['too many files', Array.from({ length: 11 }, (_, at) => ({ path: `f${at}`, body: 'x' })), 'more than 10 files'],
  [
    'too many bytes',
    [{ path: 'big', body: Buffer.alloc(2_000_000) }],
    'larger than 1 MB (ATELIER_CHECKOUT_MAX_MB on the server)',
  ],
])('A1: %s is refused', async (_, entries, message) => {
  await expect(unpackEntries(entries)).rejects.toMatchObject({
    code: 'SOURCE_INVALID',
    message: expect.stringContaining(message),
  })
})

test('what is no archive is refused', async () => {
  await expect(unpackBytes(Buffer.from('not zstd'))).rejects.toMatchObject({ code: 'SOURCE_INVALID' })
  await expect(unpackBytes(zstdCompressSync(Buffer.alloc(2048, 'x')))).rejects.toMatchObject({ code: 'SOURCE_INVALID' })
})

test.each<[string, string, boolean]>([
  ['node_modules/.bin/vite', '../vite/bin/vite.js', true],
  ['a/b/c', '../../x', true],
  ['a/b/c', '../..', true],
  ['a/b/c', '../../../x', false],
  ['a', '..', false],
  ['a', 'b/../c', false],
  ['a', './b', true],
  ['a', '', false],
])('a link at %s to %s stays inside: %s', (path, target, expected) => {
  expect(staysInside(path, target)).toBe(expected)
})

function unpackEntries(entries: Entry[]) {
  const blocks = entries.flatMap(({ body = '', ...data }) => {
    const bytes = Buffer.from(body)
    const header = new Header({ mode: 0o644, type: 'File', ...data, size: bytes.length })
    header.encode()
    const padding = Buffer.alloc((512 - (bytes.length % 512)) % 512)
    return [header.block ?? Buffer.alloc(0), bytes, padding]
  })
  return unpackBytes(zstdCompressSync(Buffer.concat([...blocks, Buffer.alloc(1024)])))
}

async function unpackBytes(bytes: Buffer) {
  const into = join(scratch, String(made++))
  const tree = await unpack(Readable.from([bytes]), into, { limits: { files: 10, bytes: 1_048_576 }, owner: null })
  return { into, tree }
}
