import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { createGzip, createZstdCompress } from 'node:zlib'
import { Header, type HeaderData, Pax } from 'tar'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { unpack } from '../build-workers/source.ts'
import { unpackServerCode } from '../proxy/bundles/server-code.ts'
import { repackSource } from '../registry/api/source-archive.ts'
import { FileStore } from '../registry/bundle-store/file.ts'

// Everything of an archive's that is ever opened goes through one of three doors.

let root: string
let rooms = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'at-escape-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const limits = { packMb: 64, checkoutMb: 64, files: 2000, idleTimeoutMs: 60_000 }
type Door = (archive: AsyncIterable<Buffer>, into: string) => Promise<unknown>

const doors: [string, Door][] = [
  [
    'an upload',
    async (archive) => {
      let kept: Buffer | null = null
      await repackSource(Readable.from(archive).pipe(createGzip({ level: 1 })), limits, async (source) => {
        kept = await buffer(source)
      })
      return kept
    },
  ],
  [
    'a source at the worker',
    (archive, into) =>
      unpack(Readable.from(archive).pipe(createZstdCompress()), into, {
        limits: { files: limits.files, bytes: limits.checkoutMb * 1_048_576 },
        owner: null,
      }),
  ],
  [
    'server code at the edge',
    async (archive, into) => {
      const store = new FileStore(`${into}.store`)
      const hash = createHash('sha256')
      const compressed = createZstdCompress()
      compressed.on('data', (chunk: Buffer) => hash.update(chunk))
      await Promise.all([store.put('server', compressed), pipeline(Readable.from(archive), compressed)])
      const given = { maxEntries: limits.files, maxBytes: limits.checkoutMb * 1_048_576 }
      await unpackServerCode(store, { key: 'server', sha256: hash.digest('hex') }, into, { limits: given })
      await rm(`${into}.store`, { recursive: true })
    },
  ],
]

type Entry = HeaderData & { path: string; text?: string; raw?: Buffer }
const pax = (fields: HeaderData): Entry => ({ path: 'pax', raw: new Pax(fields).encode() })
const bomb = 'x'.repeat(1_048_576)

const hostile: [string, Entry[] | (() => AsyncIterable<Buffer>)][] = [
  ['a path upwards', [{ path: '../outside', text: 'x' }]],
  ['a path upwards further in', [{ path: 'a/b/../../../outside', text: 'x' }]],
  ['an absolute path', [{ path: '/tmp/at-escape-outside', text: 'x' }]],
  ['a PAX path upwards', [pax({ path: '../outside' }), { path: 'harmless', text: 'x' }]],
  ['an absolute PAX path', [pax({ path: '/tmp/at-escape-outside' }), { path: 'harmless', text: 'x' }]],
  [
    'a PAX link outside',
    [
      pax({ linkpath: '/etc' }),
      { path: 'link', type: 'SymbolicLink', linkpath: 'harmless' },
      { path: 'link/x', text: 'x' },
    ],
  ],
  ['a hard link out', [{ path: 'h', type: 'Link', linkpath: '/etc/passwd' }]],
  ['a hard link upwards', [{ path: 'h', type: 'Link', linkpath: '../canary' }]],
  [
    'a hard link and then a write through it',
    [
      { path: 'h', type: 'Link', linkpath: '../canary' },
      { path: 'h', text: 'overwritten' },
    ],
  ],
  ['a symlink out', [{ path: 'l', type: 'SymbolicLink', linkpath: '../canary' }]],
  [
    'a symlink and then a write through it',
    [
      { path: 'l', type: 'SymbolicLink', linkpath: '..' },
      { path: 'l/canary', text: 'overwritten' },
    ],
  ],
  [
    'a symlink inside and then a write below it',
    [
      { path: 'd/', type: 'Directory' },
      { path: 'l', type: 'SymbolicLink', linkpath: 'd' },
      { path: 'l/x', text: 'x' },
    ],
  ],
  [
    'links that lead out together',
    [
      { path: 'a/b/', type: 'Directory' },
      { path: 'a/b/up', type: 'SymbolicLink', linkpath: '../..' },
      { path: 'out', type: 'SymbolicLink', linkpath: 'a/b/up/../canary' },
    ],
  ],
  ['a character device', [{ path: 'null', type: 'CharacterDevice', devmaj: 1, devmin: 3 }]],
  ['a block device', [{ path: 'disk', type: 'BlockDevice', devmaj: 8, devmin: 0 }]],
  ['a named pipe', [{ path: 'pipe', type: 'FIFO' }]],
  ['a sparse file of 10 GB', [{ path: 'sparse', type: 'SparseFile', size: 0 }]],
  ['a file that says it holds 10 GB', [{ path: 'large', type: 'File', size: 10 * 1024 ** 3 }]],
  ['a PAX size of 10 GB', [pax({ size: 10 * 1024 ** 3 }), { path: 'large', text: 'x' }]],
  ['a million entries', () => manyEntries(1_000_000)],
  ['more than a hundred times its size', () => manyEntries(200, bomb)],
]

// Here it depends on the reader what they mean: they lie inside, or the archive is refused.
const ambiguous: [string, Entry[]][] = [
  ['a path of Windows', [{ path: '..\\outside', text: 'x' }]],
  ['a PAX path with a NUL', [pax({ path: 'harmless\0/../../outside' }), { path: 'harmless', text: 'x' }]],
]

describe.each(doors)('A1: %s', (_name, open) => {
  test.each(ambiguous)('with %s writes nothing outside', async (_, entries) => {
    const room = join(root, String(rooms++))
    await mkdir(room)
    await open(tarOf(entries), join(room, 'app')).catch((thrown: Error) => expect(thrown.message).not.toBe(''))
    expect((await readdir(room)).filter((name) => !/^(app|app\.store)$/.test(name))).toEqual([])
  })

  test.each(hostile)('with %s is refused before a byte lies outside', async (_, entries) => {
    const room = join(root, String(rooms++))
    await mkdir(room)
    await writeFile(join(room, 'canary'), 'alive')
    const archive = typeof entries === 'function' ? entries() : tarOf([{ path: 'index.js', text: 'main' }, ...entries])
    await expect(open(archive, join(room, 'app'))).rejects.toThrow()
    expect(await readFile(join(room, 'canary'), 'utf8')).toBe('alive')
    expect((await readdir(room)).filter((name) => !/^(app|app\.store|canary)$/.test(name))).toEqual([])
    await expect(readdir('/tmp/at-escape-outside')).rejects.toThrow('ENOENT')
  })

  test('names that differ in case or in how an accent is written are files of their own, or refused', async () => {
    const into = join(root, String(rooms++))
    const twins = ['Straße/a', 'strasse/a', 'STRASSE/A', 'caf\u00e9', 'cafe\u0301', 'readme', 'README']
    const opening = open(tarOf(twins.map((path) => ({ path, text: path }))), into)
    const refused = await opening.then(
      () => null,
      (thrown: Error) => thrown,
    )
    if (refused) return expect(refused.message).not.toBe('')
    for (const name of await readdir(into, { recursive: true, withFileTypes: true }).catch(() => []))
      if (name.isFile()) {
        const path = join(name.parentPath, name.name)
        expect(await readFile(path, 'utf8')).toBe(path.slice(into.length + 1))
      }
  })

  test('as an honest packer writes it passes', async () => {
    const into = join(root, String(rooms++))
    const long = `${'deep/'.repeat(40)}file`
    await open(
      tarOf([
        { path: './', type: 'Directory' },
        { path: 'src/', type: 'Directory' },
        { path: 'src/index.js', text: 'main' },
        { path: 'latest', type: 'SymbolicLink', linkpath: 'src/index.js' },
        { path: 'src/up', type: 'SymbolicLink', linkpath: '../latest' },
        pax({ path: long }),
        { path: 'cut-off-name', text: 'long' },
      ]),
      into,
    )
    const made = await readFile(join(into, long), 'utf8').catch(() => 'nothing is unpacked at this door')
    expect(['long', 'nothing is unpacked at this door']).toContain(made)
  })
})

async function* tarOf(entries: Entry[]): AsyncGenerator<Buffer> {
  for (const entry of entries) yield blockOf(entry)
  yield Buffer.alloc(1024)
}

async function* manyEntries(count: number, text = ''): AsyncGenerator<Buffer> {
  const batch = 1000
  for (let at = 0; at < count; at += batch) {
    const blocks = Array.from({ length: Math.min(batch, count - at) }, (_, index) => ({ path: `f${at + index}`, text }))
    if (text) for (const block of blocks) yield blockOf(block)
    else yield Buffer.concat(blocks.map(blockOf))
  }
  yield Buffer.alloc(1024)
}

function blockOf({ text = '', raw, ...data }: Entry): Buffer {
  if (raw) return raw
  const body = Buffer.from(text)
  const header = new Header({
    mode: 0o644,
    uid: 0,
    gid: 0,
    type: 'File',
    mtime: new Date(0),
    size: body.length,
    ...data,
  })
  header.encode()
  return Buffer.concat([header.block ?? Buffer.alloc(512), body, Buffer.alloc((512 - (body.length % 512)) % 512)])
}
