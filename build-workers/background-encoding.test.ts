import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { readWhole } from '../registry/bundle-store/bundles.ts'
import { blobKey } from '../registry/bundle-store/keys.ts'
import { claimEncoding, type Encoding, readBetterForms, recallEncodings } from '../registry/encodings.ts'
import type { Manifest } from '../registry/manifest.ts'
import { collectBlobs } from '../registry/retention.ts'
import { TestWorker } from '../test/support/build-worker.ts'
import { BackgroundEncoding } from './background-encoding.ts'
import { BestForms } from './best-forms.ts'

const worker = await TestWorker.start()
const { sql, store, log } = worker.deps
afterAll(() => worker[Symbol.asyncDispose]())

// Text that a high level makes more of than a fast one.
const prose = (seed: number) =>
  Array.from({ length: 6000 }, (_, n) => `line ${(n * seed) % 977} of a page about ${(n * n * seed) % 613}\n`).join('')

const stateOf = async (build: string) => {
  const [row] = await sql<{ encodedAt: Date | null; encodingsSha256: string | null }[]>`
    select encoded_at, encodings_sha256 from builds where id = ${build}
  `
  return row
}

async function encodeAll(...builds: (Manifest | null)[]): Promise<void> {
  const encoding = await BackgroundEncoding.start({ sql, store, log })
  for (const manifest of builds)
    await expect.poll(async () => (await stateOf(manifest?.build ?? ''))?.encodedAt).not.toBeNull()
  await encoding.close()
}

async function betterOf({ app_id, version, build }: Manifest) {
  const sha256 = (await stateOf(build))?.encodingsSha256 ?? ''
  return (await readBetterForms(store, { app: app_id, version, build }, sha256)).forms
}

const decode = { br: brotliDecompressSync, zstd: zstdDecompressSync, gzip: gunzipSync }
const bytesOf = ({ sha256 }: { sha256: string }) => readWhole(store, blobKey(sha256))

test('what is live is made smaller in every form, and the same file is that small at once in the next build of another app', async () => {
  const app = await worker.createApp()
  const files = {
    'index.html': 'home',
    'page.txt': prose(31),
    'tiny.txt': 'x',
    'noise.png': 'not to be compressed'.repeat(99),
  }
  const { manifest } = await worker.deploy(app, files)
  if (!manifest) throw new Error('not built')
  const page = manifest.files.find(({ path }) => path === 'page.txt')
  await encodeAll(manifest)

  const better = await betterOf(manifest)
  expect(Object.keys(better.files)).toEqual([page?.sha256])
  const forms = better.files[page?.sha256 ?? ''] ?? []
  const sizes = (list: Encoding[] = []) => Object.fromEntries(list.map(({ encoding, size }) => [encoding, size]))
  const [before, after] = [sizes(page?.encodings), sizes(forms)]
  for (const encoding of ['br', 'zstd', 'gzip'] as const) expect(after[encoding]).toBeLessThan(before[encoding] ?? 0)
  for (const form of forms) {
    const bytes = await bytesOf(form)
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(form.sha256)
    expect(decode[form.encoding](bytes).toString()).toBe(files['page.txt'])
  }

  const next = await worker.deploy(await worker.createApp(), { 'index.html': 'other', 'copy.txt': files['page.txt'] })
  expect(next.manifest?.files.find(({ path }) => path === 'copy.txt')?.encodings).toEqual(forms)
  await encodeAll(next.manifest)
  expect((await stateOf(next.manifest?.build ?? ''))?.encodingsSha256).toBeNull()
})

test('the next builds of an app remember what does not get smaller, and ask for it once', async () => {
  const app = await worker.createApp()
  const formsOf = (manifest: Manifest | null) => manifest?.files.find(({ path }) => path === 'a.txt')?.encodings ?? []
  const first = await worker.deploy(app, { 'index.html': '1', 'a.txt': prose(29) })
  await encodeAll(first.manifest)
  const second = await worker.deploy(app, { 'index.html': '2', 'a.txt': prose(29) })
  await sql`delete from encodings`
  const third = await worker.deploy(app, { 'index.html': '3', 'a.txt': prose(29) })
  expect(formsOf(second.manifest)).not.toEqual(formsOf(first.manifest))
  expect(formsOf(third.manifest)).toEqual(formsOf(second.manifest))
  await encodeAll(third.manifest)
})

test('doing it again, after a crash before it was written down, changes nothing', async () => {
  const { manifest } = await worker.deploy(await worker.createApp(), {
    'index.html': 'a',
    'a.txt': prose(7),
    'b.txt': prose(11),
  })
  if (!manifest) throw new Error('not built')
  await encodeAll(manifest)
  const first = await stateOf(manifest.build)
  await sql`update builds set encoded_at = null, encodings_sha256 = null, encoding_since = null where id = ${manifest.build}`
  const [{ sha256 = '' } = {}] = manifest.files.filter(({ path }) => path === 'a.txt')
  await sql`delete from encodings where sha256 = ${sha256}`
  await encodeAll(manifest)
  expect((await stateOf(manifest.build))?.encodingsSha256).toBe(first?.encodingsSha256)
})

test('a build is one worker’s at a time, and another’s when that one is gone; what only fails is given up', async () => {
  const { manifest } = await worker.deploy(await worker.createApp(), { 'index.html': 'a', 'a.txt': prose(13) })
  const build = manifest?.build ?? ''
  expect((await claimEncoding(sql))?.id).toBe(build)
  expect(await claimEncoding(sql)).toBeNull()
  for (let attempt = 0; attempt < 2; attempt++) {
    await sql`update builds set encoding_since = now() - interval '1 hour' where id = ${build}`
    expect((await claimEncoding(sql))?.id).toBe(build)
  }
  await sql`update builds set encoding_since = now() - interval '1 hour' where id = ${build}`
  expect(await claimEncoding(sql)).toBeNull()
})

test.each([
  ['kept for pages that are open', 'pruned_at', true],
  ['gone', 'files_pruned_at', false],
] as const)('the files of a build that is pruned meanwhile are %s', async (_, column, isKept) => {
  const files = { 'index.html': 'a', 'a.txt': prose(column.length) }
  const { manifest } = await worker.deploy(await worker.createApp(), files)
  const build = manifest?.build ?? ''
  const put: typeof store.put = async (key, ...rest) => {
    if (key.includes('encodings-')) await sql`update builds set ${sql(column)} = now() where id = ${build}`
    return store.put(key, ...rest)
  }
  const pruning = new Proxy(store, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (name === 'put') return put
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  const encoding = await BackgroundEncoding.start({ sql, store: pruning, log })
  const refs = async () =>
    (await sql`select sha256 from blob_refs where build_id = ${build}`).map(({ sha256 }) => sha256)
  if (isKept) await expect.poll(async () => (await stateOf(build))?.encodedAt).not.toBeNull()
  else await expect.poll(refs).toEqual([])
  await encoding.close()
  for (const { sha256 } of isKept ? (manifest?.files ?? []) : []) expect(await refs()).toContain(sha256)
})

test('forms that have been collected are made again by the build that counts on them', async () => {
  const text = prose(17)
  const { manifest } = await worker.deploy(await worker.createApp(), { 'index.html': 'a', 'a.txt': text })
  const page = manifest?.files.find(({ path }) => path === 'a.txt')
  await encodeAll(manifest)
  const forms = (await recallEncodings(sql, [page?.sha256 ?? ''])).get(page?.sha256 ?? '') ?? []
  expect(forms).toHaveLength(3)
  await store.remove(forms.map(({ sha256 }) => blobKey(sha256)))
  const next = await worker.deploy(await worker.createApp(), { 'index.html': 'b', 'a.txt': text })
  expect(next.deployment.state).toBe('live')
  for (const form of next.manifest?.files.find(({ path }) => path === 'a.txt')?.encodings ?? [])
    expect(decode[form.encoding](await bytesOf(form)).toString()).toBe(text)
})

test('forms nobody refers to are collected like any blob, and forgotten with it', async () => {
  const { manifest } = await worker.deploy(await worker.createApp(), { 'index.html': 'a', 'a.txt': prose(19) })
  const { sha256 = '' } = manifest?.files.find(({ path }) => path === 'a.txt') ?? {}
  await encodeAll(manifest)
  await collectBlobs(sql, store)
  expect((await recallEncodings(sql, [sha256])).get(sha256)).toHaveLength(3)
  await sql`delete from blob_refs where build_id = ${manifest?.build ?? ''}`
  await collectBlobs(sql, store)
  await sql`update condemned_blobs set since = now() - interval '25 hours'`
  await collectBlobs(sql, store)
  expect((await recallEncodings(sql, [sha256])).has(sha256)).toBe(false)
})

test.runIf(process.platform === 'linux')(
  'it is done by one thread of the lowest priority, which ends when it is told to',
  async () => {
    const forms = new BestForms()
    // Those of the tests before may still be ending.
    await expect.poll(niceThreads).toEqual([])
    await forms.make(Buffer.from(prose(3)), [], AbortSignal.timeout(60_000))
    expect(await niceThreads()).toHaveLength(1)
    const stopping = new AbortController()
    const making = forms.make(Buffer.from(prose(5).repeat(20)), [], stopping.signal)
    stopping.abort(new Error('stop'))
    await expect(making).rejects.toThrow('stop')
    await expect.poll(niceThreads).toEqual([])
  },
)

async function niceThreads(): Promise<string[]> {
  const threads = await readdir('/proc/self/task')
  const stats = await Promise.all(threads.map((id) => readFile(`/proc/self/task/${id}/stat`, 'utf8').catch(() => '')))
  // The 19th field, counted from behind the name in brackets.
  return stats.filter((stat) => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16] === '19')
}
