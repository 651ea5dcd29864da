import { createHash } from 'node:crypto'
import { createReadStream, readSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { AppError } from '../registry/errors.ts'
import type { Part, PlacedPart } from './build-context.ts'
import { contentType } from './content-types.ts'
import { openFileInside } from './inside.ts'
import { LinkedPages } from './linked-pages.ts'
import { HardLinks, readWalked, unfit, type WalkedFile, walk } from './walk.ts'

/** A static file as it will be published. */
export type Page = {
  path: string
  /** Where it lies in `part`; another path for what a symlink leads to. */
  source: string
  part: Part
  size: number
  sha256: string
  contentType: string
  /** The bytes, while they fit in memory; else they are read again from where they lie. */
  content: Buffer | null
}

const heldBytes = 64 * 1_048_576
const heldFileBytes = 4 * 1_048_576
const chunkBytes = 1_048_576
const turnMs = 20

/** Reads and digests every file of the parts, in the order of their paths. Throws OUTPUT_INVALID. */
export async function packPages(
  parts: PlacedPart[],
  { uid, maxFiles }: { uid: number | null; maxFiles: number },
): Promise<Page[]> {
  const published = new Map<string, Page>()
  for (const part of parts)
    for (const page of await packPart(part, { uid, maxFiles })) {
      const path = join(part.below, page.path)
      if (!published.has(path)) published.set(path, { ...page, path })
      if (published.size > maxFiles) throw tooMany(maxFiles)
    }
  return [...published.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function packPart(part: Part, { uid, maxFiles }: { uid: number | null; maxFiles: number }): Promise<Page[]> {
  const pages = new Map<string, Page>()
  const links: { path: string; target: string }[] = []
  const directories: string[] = []
  const hardLinks = new HardLinks()
  let held = 0
  let lastTurn = performance.now()
  for (const entry of walk(part.root, { from: part.from, skip: part.skip, uid })) {
    if (entry.kind === 'symlink') links.push(entry)
    if (entry.kind === 'directory') directories.push(entry.path)
    if (entry.kind !== 'file') continue
    hardLinks.see(entry)
    const hold = entry.size <= heldFileBytes && held + entry.size <= heldBytes
    pages.set(entry.path, digest(entry, part, hold))
    if (hold) held += entry.size
    if (pages.size > maxFiles) throw tooMany(maxFiles)
    // Heartbeats and logs go on while a large folder is read.
    if (performance.now() - lastTurn > turnMs) {
      await turn()
      lastTurn = performance.now()
    }
  }
  hardLinks.check()
  const linked = new LinkedPages({ pages, links, directories }, { skip: part.skip, most: maxFiles }).added()
  return links.length > 0 ? [...pages.values(), ...linked] : [...pages.values()]
}

function tooMany(maxFiles: number): AppError {
  return new AppError('OUTPUT_INVALID', `the build left more than ${maxFiles} static files`)
}

/** Whether unknown navigations may answer index.html: it is the only page, and nobody wrote a 404.html. */
export function isSinglePage(pages: Page[]): boolean {
  const indexes = pages.filter(({ path }) => /(^|\/)index\.html$/.test(path))
  return indexes.length === 1 && indexes[0]?.path === 'index.html' && !pages.some(({ path }) => path === '404.html')
}

function digest(file: WalkedFile, part: Part, hold: boolean): Page {
  const described = { path: file.path, source: file.path, part, size: file.size, contentType: contentType(file.path) }
  const hash = createHash('sha256')
  if (file.size <= heldFileBytes) {
    const content = readWalked(file)
    return { ...described, sha256: hash.update(content).digest('hex'), content: hold ? content : null }
  }
  const chunk = Buffer.allocUnsafe(chunkBytes)
  for (let at = 0; at < file.size; ) {
    const read = readSync(file.descriptor, chunk, 0, chunkBytes, at)
    if (read === 0) throw unfit(file.path, 'changed while it was read')
    hash.update(chunk.subarray(0, read))
    at += read
  }
  return { ...described, sha256: hash.digest('hex'), content: null }
}

/** The bytes of a page; read a second time they are to be checked against its digest. */
export async function readPage(page: Page): Promise<Buffer> {
  return page.content ?? buffer(createReadStream('', { fd: openPage(page) }))
}

/** A descriptor of a page that is not held in memory. */
export function openPage({ source, part }: Page): number {
  return openFileInside(part.root, join(part.from, source))
}
