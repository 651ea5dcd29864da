import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { zstdCompressSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { archive, endOfArchive } from './archive.ts'
import { unpack } from './source.ts'
import { HardLinks, readWalked, walk } from './walk.ts'

const scratch = await mkdtemp(join(tmpdir(), 'walk-'))
afterAll(() => rm(scratch, { recursive: true }))
let made = 0

test('files, folders and links inside come in the order of their names', () => {
  const root = tree({ 'b/x.txt': 'hello', 'a.txt': 'world' })
  symlinkSync('../a.txt', join(root, 'b/link'))
  const seen = [...walk(root, { uid: null })].map((entry) => `${entry.kind} ${entry.path}`)
  expect(seen).toEqual(['file a.txt', 'directory b', 'symlink b/link', 'file b/x.txt'])
})

test('a folder that is passed over is not looked at', () => {
  const root = tree({ 'index.html': '', '.git/x': '' })
  symlinkSync('/etc', join(root, '.git/out'))
  expect([...walk(root, { uid: null, skip: (path) => path === '.git' })]).toHaveLength(1)
})

test.each<[string, (root: string) => void, string]>([
  ['an absolute symlink', (root) => symlinkSync('/etc/passwd', join(root, 'l')), 'l is a symlink to "/etc/passwd"'],
  ['a symlink upwards', (root) => symlinkSync('../../secret', join(root, 'sub/l')), 'sub/l is a symlink'],
  ['a pipe', (root) => execFileSync('mkfifo', [join(root, 'p')]), 'p is a pipe'],
  ['a setuid file', (root) => chmodSync(join(root, 'sub/file'), 0o4755), 'sub/file is a setuid'],
  [
    'a name with a line break',
    (root) => writeFileSync(join(root, 'a\nb'), ''),
    'a\\nb has a name with a control character',
  ],
  ['a name with a backslash', (root) => writeFileSync(join(root, 'a\\b'), ''), 'has a name'],
  [
    'a name that is no text',
    (root) => writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff])]), ''),
    'has a name',
  ],
])('%s ends the walk with its path', (_, spoil, message) => {
  const root = tree({ 'sub/file': '' })
  spoil(root)
  expect(() => [...walk(root, { uid: null })]).toThrow(
    expect.objectContaining({ code: 'OUTPUT_INVALID', message: expect.stringContaining(message) }),
  )
})

test('a socket ends the walk with its path', async () => {
  const root = tree({})
  const server = createServer().listen(join(root, 's'))
  await new Promise((listening) => server.once('listening', listening))
  expect(() => [...walk(root, { uid: null })]).toThrow('s is a socket')
  server.close()
})

test.runIf(process.getuid?.() === 0)('a device ends the walk with its path', () => {
  const root = tree({ 'sub/file': '' })
  execFileSync('mknod', [join(root, 'sub/zero'), 'c', '1', '5'])
  expect(() => [...walk(root, { uid: null })]).toThrow('sub/zero is a device')
})

test.runIf(process.getuid?.() === 0)('a file of another user ends the walk', () => {
  const root = tree({ 'mine.txt': '', 'theirs.txt': '' })
  chownSync(join(root, 'mine.txt'), 4242, 4242)
  expect(() => [...walk(root, { uid: 4242 })]).toThrow('theirs.txt belongs to another user')
})

test('a hard link to a file elsewhere is noticed, two names inside are not', () => {
  const root = tree({ 'a.txt': 'x' })
  linkSync(join(root, 'a.txt'), join(root, 'b.txt'))
  expect(() => countLinks(root)).not.toThrow()
  const outside = join(tree({ secret: 'x' }), 'secret')
  linkSync(outside, join(root, 'c.txt'))
  expect(() => countLinks(root)).toThrow('c.txt is a hard link')
})

test('what takes the place of a folder during the walk is not followed', () => {
  const root = tree({ 'd/file': 'mine', 'a.txt': '' })
  const elsewhere = tree({ file: 'theirs' })
  const contents: string[] = []
  for (const entry of walk(root, { uid: null })) {
    if (entry.kind === 'directory') {
      execFileSync('mv', [join(root, 'd'), join(root, 'z')])
      symlinkSync(elsewhere, join(root, 'd'))
    }
    if (entry.kind === 'file') contents.push(readWalked(entry).toString())
  }
  expect(contents).toEqual(['', 'mine'])
})

test('an archive is the same twice and unpacks to the same tree', async () => {
  const long = `${'long-folder-name/'.repeat(12)}file.txt`
  const root = tree({ 'index.js': 'x'.repeat(1000), [long]: 'ü', 'bin/run': '', 'big.bin': 'b'.repeat(2_500_000) })
  chmodSync(join(root, 'bin/run'), 0o777)
  symlinkSync('../index.js', join(root, 'bin/link'))
  const [first, second] = [await bytesOf(root), await bytesOf(root)]
  expect(first.equals(second)).toBe(true)

  const into = join(scratch, String(made++))
  const limits = { files: 100, bytes: 10_000_000 }
  await unpack(Readable.from([zstdCompressSync(first)]), into, { limits, owner: null })
  expect((await bytesOf(into)).equals(first)).toBe(true)
})

async function bytesOf(root: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  await pipeline(archive(walk(root, { uid: null })), async (source) => {
    for await (const chunk of source) chunks.push(chunk)
  })
  return Buffer.concat([...chunks, endOfArchive])
}

function countLinks(root: string): void {
  const links = new HardLinks()
  for (const entry of walk(root, { uid: null })) if (entry.kind === 'file') links.see(entry)
  links.check()
}

function tree(files: Record<string, string>): string {
  const root = join(scratch, String(made++))
  mkdirSync(root)
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}
