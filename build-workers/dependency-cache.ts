import { randomUUID } from 'node:crypto'
import {
  copyFileSync,
  createWriteStream,
  constants as fsConstants,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import { codeOf } from '../registry/errors.ts'
import { archive } from './archive.ts'
import type { Owner } from './source.ts'
import { walk } from './walk.ts'

/** What was installed, entry by entry; paths are relative to the app. */
type Index = {
  /** The folders that were kept: `node_modules`, `packages/web/node_modules`. */
  roots: string[]
  directories: string[]
  files: [path: string, size: number, mtimeMs: number][]
  links: [path: string, target: string][]
}

const keptEntries = 4

/**
 * Installed dependencies of one app, by a digest of all that decides what is installed. A hit links the files into place instead of running
 * a package manager. The folder belongs to the platform alone: builds see their own names for the files, not this folder. A file that was
 * written to in place through such a name is noticed by its size and time, and then the entry counts for nothing.
 */
export class DependencyCache {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Puts the dependencies of `key` into `into`, a directory that must not exist. Returns the roots in it; null: there are none for the key. */
  async restore(key: string, into: string, owner: Owner | null): Promise<string[] | null> {
    const entry = join(this.#directory, key)
    const index = await readIndex(entry)
    if (!index) return null
    try {
      link(index, join(entry, 'tree'), into, owner)
      markUsed(entry)
      return index.roots
    } catch (thrown) {
      if (!(thrown instanceof Stale) && codeOf(thrown) !== 'ENOENT') throw thrown
      await this.#drop(key)
      await rm(into, { recursive: true, force: true })
      return null
    }
  }

  /** Keeps what was installed below `app` in these roots. What the cache has already for the key stays. */
  async keep(key: string, app: string, { roots, owner }: { roots: string[]; owner: Owner | null }): Promise<void> {
    const making = join(this.#directory, `.making-${randomUUID()}`)
    await mkdir(making, { recursive: true, mode: 0o700 })
    try {
      const index = collect(roots, app, join(making, 'tree'), owner)
      await writeFile(join(making, 'index.json'), JSON.stringify(index))
      await rename(making, join(this.#directory, key))
    } catch (thrown) {
      if (codeOf(thrown) !== 'ENOTEMPTY' && codeOf(thrown) !== 'EEXIST') throw thrown
    } finally {
      await rm(making, { recursive: true, force: true })
    }
    await this.#trim()
  }

  /**
   * The dependencies of `key` as tar in one zstd frame, without the end marker; made on first use. `withGenerated: false` leaves out what
   * tools have generated into `node_modules/.<tool>`, for builds that generate it anew. Null: the cache has none for the key.
   */
  async archive(
    key: string,
    { withGenerated, owner }: { withGenerated: boolean; owner: Owner | null },
  ): Promise<string | null> {
    const entry = join(this.#directory, key)
    const made = join(entry, withGenerated ? 'modules.tar.zst' : 'modules-plain.tar.zst')
    if (await isThere(made)) {
      markUsed(entry)
      return made
    }
    const index = await readIndex(entry)
    if (!index) return null
    const making = join(entry, `.making-${randomUUID()}`)
    const skip = (path: string) => isLeftover(path) || (!withGenerated && isGenerated(path, index.roots))
    const walks = index.roots.map((from) =>
      walk(join(entry, 'tree'), { from, below: from, skip, uid: owner?.uid ?? null }),
    )
    await pipeline(
      archive(chained(walks), { checkHardLinks: false }),
      createZstdCompress(compression),
      createWriteStream(making, { flags: 'wx', mode: 0o600 }),
    )
    await rename(making, made)
    return made
  }

  /** Removes what is left of a former self that was killed. */
  async sweep(): Promise<void> {
    for (const name of await namesIn(this.#directory))
      if (name.startsWith('.making-')) await rm(join(this.#directory, name), { recursive: true, force: true })
  }

  async #drop(key: string): Promise<void> {
    await rm(join(this.#directory, key), { recursive: true, force: true })
  }

  async #trim(): Promise<void> {
    const names = (await namesIn(this.#directory)).filter((name) => !name.startsWith('.'))
    const used = await Promise.all(
      names.map(async (name) => ({
        name,
        at: (await stat(join(this.#directory, name)).catch(() => null))?.mtimeMs ?? 0,
      })),
    )
    used.sort((a, b) => b.at - a.at)
    for (const { name } of used.slice(keptEntries)) await this.#drop(name)
  }
}

const compression = { params: { [constants.ZSTD_c_compressionLevel]: 3 } }

/** Parts of node_modules that tools keep for themselves and a running app has no use for. */
function isLeftover(path: string): boolean {
  return /(^|\/)node_modules\/(\.cache|\.vite|\.vite-temp)$/.test(path)
}

/** Folders such as `node_modules/.prisma`, which a tool generates from the app's own files. */
export function isGenerated(path: string, roots: string[]): boolean {
  const name = basename(path)
  return (
    name.startsWith('.') && name !== '.bin' && name !== '.pnpm' && roots.includes(dirname(path)) && !isLeftover(path)
  )
}

class Stale extends Error {}

function collect(roots: string[], from: string, to: string, owner: Owner | null): Index {
  const index: Index = { roots, directories: [], files: [], links: [] }
  mkdirSync(to)
  for (const root of roots) {
    mkdirSync(join(to, root), { recursive: true })
    for (const entry of walk(from, { from: root, below: root, uid: owner?.uid ?? null, skip: isLeftover })) {
      const target = join(to, entry.path)
      if (entry.kind === 'directory') {
        mkdirSync(target)
        index.directories.push(entry.path)
      } else if (entry.kind === 'symlink') {
        symlinkSync(entry.target, target)
        index.links.push([entry.path, entry.target])
      } else {
        linkOrCopy(entry.at, target, entry.path, owner)
        index.files.push([entry.path, entry.size, lstatSync(target).mtimeMs])
      }
    }
  }
  return index
}

function link(index: Index, from: string, into: string, owner: Owner | null): void {
  mkdirSync(into, { mode: 0o700 })
  const give = (path: string) => owner && lchownSync(path, owner.uid, owner.gid)
  for (const root of index.roots) {
    mkdirSync(join(into, root), { recursive: true })
    give(join(into, root))
  }
  for (const path of index.directories) {
    mkdirSync(join(into, path))
    give(join(into, path))
  }
  for (const [path, size, mtimeMs] of index.files) {
    const kept = join(from, path)
    const stats = lstatSync(kept)
    if (!stats.isFile() || stats.size !== size || stats.mtimeMs !== mtimeMs) throw new Stale(`${path} was written to`)
    linkOrCopy(kept, join(into, path), path, owner)
  }
  for (const [path, target] of index.links) {
    symlinkSync(target, join(into, path))
    give(join(into, path))
  }
}

function linkOrCopy(from: string, to: string, path: string, owner: Owner | null): void {
  if (isRewritten(path) || !tryLink(from, to)) {
    copyFileSync(from, to, fsConstants.COPYFILE_EXCL | fsConstants.COPYFILE_FICLONE)
    if (owner) lchownSync(to, owner.uid, owner.gid)
  }
}

// Generated clients (.prisma) and the package managers' own notes are written anew in place by later builds; each gets its own copy.
function isRewritten(path: string): boolean {
  return /(^|\/)node_modules\/\.(?!bin\/|pnpm\/(?!lock\.yaml))/.test(path)
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (thrown) {
    // Another file system, or too many names for one file.
    if (codeOf(thrown) === 'EXDEV' || codeOf(thrown) === 'EMLINK') return false
    throw thrown
  }
}

function* chained<T>(parts: Iterable<T>[]): Generator<T> {
  for (const part of parts) yield* part
}

function markUsed(entry: string): void {
  const now = new Date()
  utimesSync(entry, now, now)
}

async function readIndex(entry: string): Promise<Index | null> {
  try {
    return JSON.parse(await readFile(join(entry, 'index.json'), 'utf8'))
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return []
    throw thrown
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw thrown
  }
}

/** Moves the roots of a restored tree to their places in the app. */
export function moveRoots(roots: string[], from: string, app: string): void {
  for (const root of roots) {
    mkdirSync(dirname(join(app, root)), { recursive: true })
    renameSync(join(from, root), join(app, root))
  }
}
