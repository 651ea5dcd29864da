import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib'
import { create, Header, list } from 'tar'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AppError } from '../errors.ts'
import { repackSource } from './source-archive.ts'

const limits = { packMb: 4, checkoutMb: 8, files: 50, idleTimeoutMs: 60_000 }

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'atelier-source-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function repack(body: Readable, given = limits): Promise<{ names: string[]; bytes: Buffer; digest: string }> {
  let kept = Buffer.alloc(0)
  const digest = await repackSource(body, given, async (source) => {
    kept = await buffer(source)
  })
  return { ...(await namesOf(kept)), bytes: kept, digest }
}

async function namesOf(archive: Buffer): Promise<{ names: string[] }> {
  const names: string[] = []
  const reading = list({ onReadEntry: (entry) => void names.push(`${entry.type} ${entry.path}`) })
  reading.end(zstdDecompressSync(archive))
  return { names: names.sort() }
}

async function archiveOf(files: Record<string, string | Buffer>): Promise<Buffer> {
  const root = await mkdtemp(join(folder, 'tree-'))
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(root, name, '..'), { recursive: true })
    await writeFile(join(root, name), content)
  }
  await symlink('package.json', join(root, 'link'))
  return buffer(create({ cwd: root, gzip: true }, ['.']))
}

/** One raw entry, as an archiver would never write it. */
function rawEntry(
  fields: Partial<{ path: string; type: 'File' | 'Link' | 'SymbolicLink' | 'CharacterDevice'; linkpath: string }>,
) {
  const header = new Header({ path: 'a', mode: 0o644, size: 0, type: 'File', ...fields })
  header.encode()
  return header.block ?? Buffer.alloc(512)
}
const end = Buffer.alloc(1024)

test('the same files have one digest, whenever they were written, and others another', async () => {
  const digestOf = async (files: Record<string, string>) => (await repack(Readable.from(await archiveOf(files)))).digest
  const one = await digestOf({ 'package.json': '{}', 'a/b.txt': 'b' })
  expect(one).toMatch(/^[0-9a-f]{64}$/)
  expect(await digestOf({ 'package.json': '{}', 'a/b.txt': 'b' })).toBe(one)
  expect(await digestOf({ 'package.json': '{}', 'a/b.txt': 'c' })).not.toBe(one)
  expect(await digestOf({ 'package.json': '{}', 'a/c.txt': 'b' })).not.toBe(one)
})

test('an archive comes out with the same files and links, byte for byte, and long or foreign names', async () => {
  const content = randomBytes(300_000)
  const long = `${'deep/'.repeat(30)}täst-✓.txt`
  const { names, bytes } = await repack(
    Readable.from(await archiveOf({ 'package.json': '{}', 'data.bin': content, [long]: 'x', '.git/config': 'evil' })),
  )
  expect(names).toContain('File data.bin')
  expect(names).toContain(`File ${long}`)
  expect(names).toContain('SymbolicLink link')
  expect(names.some((name) => name.includes('.git'))).toBe(false)
  expect(zstdDecompressSync(bytes).includes(content)).toBe(true)
})

test('it takes no notice of how the bytes are cut into chunks', async () => {
  const archive = await archiveOf({ 'package.json': '{}', 'a/b/c.txt': 'hello' })
  const byteByByte = Readable.from([...archive].map((byte) => Buffer.from([byte])))
  expect((await repack(byteByByte)).names).toEqual((await repack(Readable.from(archive))).names)
})

describe('A1: refused, and nothing is kept', () => {
  const good = () => archiveOf({ 'package.json': '{}', 'data.bin': randomBytes(100_000) })
  test.each<[string, () => Promise<Readable | Buffer>, string]>([
    ['no archive at all', async () => Buffer.from('hello, this is no archive'), 'SOURCE_INVALID'],
    ['an empty body', async () => Buffer.alloc(0), 'SOURCE_INVALID'],
    ['gzip of nonsense', async () => gzipSync(randomBytes(5000)), 'SOURCE_INVALID'],
    ['an empty archive', async () => gzipSync(end), 'SOURCE_INVALID'],
    ['a cut-off archive', async () => (await good()).subarray(0, 50_000), 'SOURCE_INVALID'],
    [
      'an archive cut off inside, with its gzip whole',
      async () => gzipSync(gunzip(await good()).subarray(0, 60_000)),
      'SOURCE_INVALID',
    ],
    ['one compressed twice', async () => gzipSync(await good()), 'SOURCE_INVALID'],
    ['a flipped header byte', async () => gzipSync(flip(gunzip(await good()), 3)), 'SOURCE_INVALID'],
    ['a path that climbs', async () => gzipSync(Buffer.concat([rawEntry({ path: '../evil' }), end])), 'SOURCE_INVALID'],
    ['a device', async () => gzipSync(Buffer.concat([rawEntry({ type: 'CharacterDevice' }), end])), 'SOURCE_INVALID'],
    [
      'a hard link',
      async () => gzipSync(Buffer.concat([rawEntry({ type: 'Link', linkpath: 'b' }), end])),
      'SOURCE_INVALID',
    ],
    ['too large an upload', async () => Readable.from(endless()), 'REQUEST_TOO_LARGE'],
    ['a bomb', async () => gzipSync(Buffer.alloc(50_000_000)), 'REQUEST_TOO_LARGE'],
    [
      'a bomb after the end of the archive',
      async () => gzipSync(Buffer.concat([gunzip(await good()), Buffer.alloc(50_000_000)])),
      'REQUEST_TOO_LARGE',
    ],
    [
      'more files than allowed',
      async () => archiveOf(Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`f${index}`, 'x']))),
      'REQUEST_TOO_LARGE',
    ],
  ])('%s', async (_, make, code) => {
    const made = await make()
    const body = Buffer.isBuffer(made) ? Readable.from(made.length > 0 ? [made] : []) : made
    let kept: unknown = 'nothing'
    const repacking = repackSource(body, limits, async (source) => {
      kept = await buffer(source)
    })
    await expect(repacking).rejects.toMatchObject({ code })
    expect(kept).toBe('nothing')
  })

  test('an upload that stands still', async () => {
    const body = new Readable({ read: () => undefined })
    const repacking = repack(body, { ...limits, idleTimeoutMs: 20 })
    await expect(repacking).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('stood still'),
    })
  })

  test('a store that cannot keep it, with its own reason', async () => {
    const full = new AppError('STORE_UNAVAILABLE', 'the disk is full')
    const repacking = repackSource(Readable.from(await good()), limits, async (source) => {
      source.destroy(full)
      throw full
    })
    await expect(repacking).rejects.toBe(full)
  })
})

function gunzip(archive: Buffer): Buffer {
  return gunzipSync(archive)
}

function flip(bytes: Buffer, index: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[index] = (flipped[index] ?? 0) ^ 0xff
  return flipped
}

async function* endless() {
  const header = new Header({ path: 'huge', mode: 0o644, size: 2 ** 30, type: 'File' })
  header.encode()
  yield gzipSync(header.block ?? end)
  for (;;) yield gzipSync(randomBytes(1_000_000), { level: 0 })
}
