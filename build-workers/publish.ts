import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { StepLog } from '../registry/build-logs.ts'
import { missingBlobs } from '../registry/bundle-store/bundles.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import {
  type BuildName,
  blobKey,
  buildLogKey,
  manifestKey,
  routesKey,
  serverKey,
  staticPathsKey,
} from '../registry/bundle-store/keys.ts'
import { recallEncodings } from '../registry/encodings.ts'
import { type Manifest, manifest } from '../registry/manifest.ts'
import { type RouteList, routeList, summarizeRoutes } from '../registry/route-list.ts'
import type { Sql } from '../registry/sql.ts'
import { type EncodedSibling, type EncodingMemory, encode, mayShrink } from './encodings.ts'
import { openPage, type Page, readPage } from './pack-pages.ts'
import type { PackedServer } from './pack-server.ts'
import type { StaticPaths } from './prerender.ts'
import { formatSize } from './size.ts'

/** `staticPaths`: those rendered at build time, if any were listed. */
export type Packed = { pages: Page[]; server: PackedServer | null; staticPaths?: StaticPaths | null }
/** What the manifest says besides the files. */
export type ManifestFacts = Omit<
  Manifest,
  'bundle_size' | 'routes' | 'routes_sha256' | 'files' | 'server' | 'build_duration_ms'
>
export type Published = { manifestKey: string; manifestSha256: string; bundleSize: number; durationMs: number }

export type PublishDeps = { sql: Sql; store: BundleStore; memory: EncodingMemory; log: StepLog }

const encodedAtOnce = 8

/**
 * Uploads what the store lacks, and the manifest when everything else is there: until it exists, the build does not. `startedAt` is the
 * build's start on the monotonic clock; `logText` gives its log so far.
 */
export async function publish(
  { pages, server, staticPaths }: Packed,
  {
    name,
    facts,
    routes,
    startedAt,
    logText,
  }: { name: BuildName; facts: ManifestFacts; routes: RouteList; startedAt: number; logText: () => string },
  { sql, store, memory, log }: PublishDeps,
): Promise<Published> {
  return log.step('Uploading', '', async (step) => {
    const files = await encodeAll(pages, { sql, memory })
    const missing = await uploadable(files, { sql, store, name })
    const changed = files.filter(({ page }) => missing.has(page.sha256)).length
    step.detail(describeUpload({ changed, files: files.length, server }))

    const routesBytes = Buffer.from(`${JSON.stringify(routeList.parse(routes))}\n`)
    await Promise.all([
      uploadBlobs(files, missing, { store }),
      server && store.put(serverKey(name), createReadStream(server.path), { sha256: server.sha256 }),
      store.put(routesKey(name), routesBytes),
      staticPaths && store.put(staticPathsKey(name), Buffer.from(`${JSON.stringify(staticPaths)}\n`)),
      store.put(buildLogKey(name), Buffer.from(logText())),
    ])
    const durationMs = Math.round(performance.now() - startedAt)
    const written = writeManifest({ files, server, facts, routes, routesBytes, durationMs })
    await store.put(manifestKey(name), written.bytes, { sha256: written.sha256 })
    await memory.keep(
      files.map(({ page, siblings, isFinal }) => ({
        ...{ sha256: page.sha256, forms: siblings.map(describeSibling), isFinal },
      })),
    )
    return {
      manifestKey: manifestKey(name),
      manifestSha256: written.sha256,
      bundleSize: written.bundleSize,
      durationMs,
    }
  })
}

type File = { page: Page; siblings: EncodedSibling[]; isFinal: boolean }

async function encodeAll(pages: Page[], { sql, memory }: { sql: Sql; memory: EncodingMemory }): Promise<File[]> {
  // As small as they get, whoever's build they were made for. A large site is not asked for whole at each push.
  const shrinking = pages.filter(({ size, contentType }) => mayShrink(size, contentType))
  const open = shrinking.map(({ sha256 }) => sha256).filter((sha256) => !memory.recall(sha256)?.isFinal)
  const best = await recallEncodings(sql, open)
  return inTurns(pages, encodedAtOnce, async (page) => {
    const final = best.get(page.sha256)
    const known = final ? { forms: final, isFinal: true } : memory.recall(page.sha256)
    if (known)
      return { page, siblings: known.forms.map((form) => ({ ...form, content: null })), isFinal: known.isFinal }
    const isWorth = mayShrink(page.size, page.contentType)
    const siblings = isWorth ? await encode(await readPage(page), page.contentType) : []
    return { page, siblings, isFinal: false }
  })
}

/**
 * Says that the build counts on these blobs, and returns those that the store lacks. Forms that are remembered from an earlier build and have been
 * collected since are made again, and are other blobs then.
 */
async function uploadable(
  files: File[],
  { sql, store, name }: { sql: Sql; store: BundleStore; name: BuildName },
): Promise<Set<string>> {
  if (files.length === 0) return new Set()
  const ask = () => {
    const digests = files.flatMap(({ page, siblings }) => [page.sha256, ...siblings.map(({ sha256 }) => sha256)])
    return missingBlobs(sql, store, { ...name, digests })
  }
  const missing = await ask()
  const lost = files.filter(({ siblings }) =>
    siblings.some(({ sha256, content }) => content === null && missing.has(sha256)),
  )
  if (lost.length === 0) return missing
  await inTurns(lost, encodedAtOnce, async (file) => {
    file.siblings = await encode(await readPage(file.page), file.page.contentType)
    file.isFinal = false
  })
  return ask()
}

async function uploadBlobs(files: File[], missing: Set<string>, { store }: { store: BundleStore }): Promise<void> {
  const left = new Set(missing)
  await inTurns(files, store.atOnce, async ({ page, siblings }) => {
    if (left.delete(page.sha256)) {
      const body = page.content ?? createReadStream('', { fd: openPage(page) })
      await store.put(blobKey(page.sha256), body, { sha256: page.sha256 })
    }
    for (const sibling of siblings) {
      if (sibling.content && left.delete(sibling.sha256))
        await store.put(blobKey(sibling.sha256), sibling.content, { sha256: sibling.sha256 })
    }
  })
}

function writeManifest({
  files,
  server,
  facts,
  routes,
  routesBytes,
  durationMs,
}: {
  files: File[]
  server: PackedServer | null
  facts: ManifestFacts
  routes: RouteList
  routesBytes: Buffer
  durationMs: number
}): { bytes: Buffer; sha256: string; bundleSize: number } {
  const bundleSize = files.reduce((sum, { page }) => sum + page.size, 0) + (server?.size ?? 0)
  const content: Manifest = {
    ...facts,
    bundle_size: bundleSize,
    routes: summarizeRoutes(routes, { hasServer: server !== null }),
    routes_sha256: createHash('sha256').update(routesBytes).digest('hex'),
    build_duration_ms: durationMs,
    files: files.map(({ page, siblings }) => ({
      path: page.path,
      size: page.size,
      sha256: page.sha256,
      content_type: page.contentType,
      encodings: siblings.map(describeSibling),
    })),
    server: server && {
      entry: server.entry,
      start: server.start,
      sha256: server.sha256,
      size: server.size,
      modules: server.modulesFrame,
    },
  }
  const bytes = Buffer.from(JSON.stringify(manifest.parse(content)))
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), bundleSize }
}

function describeSibling({ encoding, sha256, size }: EncodedSibling) {
  return { encoding, sha256, size }
}

function describeUpload({
  changed,
  files,
  server,
}: {
  changed: number
  files: number
  server: PackedServer | null
}): string {
  const pages = `${changed} of ${files} files changed`
  if (!server) return pages
  const code = `server code ${formatSize(server.size)}`
  return files > 0 ? `${pages}, ${code}` : code
}

async function inTurns<T, R>(items: T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  const queue = items.entries()
  const run = async () => {
    for (const [at, item] of queue) results[at] = await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, run))
  return results
}
