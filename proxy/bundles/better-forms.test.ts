import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readManifest } from '../../registry/bundle-store/bundles.ts'
import { blobKey, encodingsKey } from '../../registry/bundle-store/keys.ts'
import type { Deployment } from '../../registry/deployments.ts'
import { finishEncoding } from '../../registry/encodings.ts'
import { readRoutedDeployment } from '../../registry/routes.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

const nowhere = 'postgres://atelier@localhost/atelier?host=/nonexistent'
const text = 'a line of text\n'.repeat(200)
const path = '/long.txt'

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2 })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const get = (app: string) => edge.ask(app, path, { headers: { 'accept-encoding': 'br' } })

// As a build worker would, with a form that can be told from the first.
async function giveForm(deployment: Deployment, form = brotliCompressSync(`${text}better`)): Promise<string> {
  const routed = await readRoutedDeployment(edge.sql, deployment.id)
  if (!routed) throw new Error('no bundle')
  const manifest = await readManifest(edge.store, { key: routed.manifestKey, sha256: routed.manifestSha256 })
  const page = manifest.files.find((file) => `/${file.path}` === path)
  await edge.store.put(blobKey(sha256(form)), form)
  const forms = [{ encoding: 'br', sha256: sha256(form), size: form.length }]
  const list = Buffer.from(JSON.stringify({ files: { [page?.sha256 ?? '']: forms } }))
  const { app_id: app, version, build } = manifest
  await edge.store.put(encodingsKey({ app, version, build }, sha256(list)), list)
  await finishEncoding(edge.sql, build, sha256(list))
  return sha256(form)
}

test('every edge serves a better form as soon as there is one, and after a restart without Postgres', async () => {
  const deployment = await edge.deploy('better', { kind: 'static', files: { 'index.html': '', 'long.txt': text } })
  const before = await get('better')
  expect(brotliDecompressSync(before.bytes).toString()).toBe(text)
  const digest = await giveForm(deployment)
  const all = () => Promise.all(Array.from({ length: 8 }, () => get('better')))
  await expect
    .poll(async () => new Set((await all()).map(({ headers }) => headers.etag)))
    .toEqual(new Set([`"${digest}"`]))
  expect(brotliDecompressSync((await get('better')).bytes).toString()).toBe(`${text}better`)

  await edge.shut()
  await edge.open(nowhere)
  expect((await get('better')).headers.etag).toBe(`"${digest}"`)
  await edge.shut()
  await edge.open()
})

test('a better form whose bytes are not right is not served: the plain file is', async () => {
  const deployment = await edge.deploy('torn', { kind: 'static', files: { 'index.html': '', 'long.txt': text } })
  const form = brotliCompressSync(`${text}torn`)
  await writeFile(edge.store.localPath(blobKey(sha256(form))) ?? '', Buffer.alloc(form.length))
  await giveForm(deployment, form)
  await expect.poll(async () => (await get('torn')).headers['content-encoding']).toBeUndefined()
  expect(await get('torn')).toMatchObject({ status: 200, body: text, headers: { vary: 'accept-encoding' } })
})
