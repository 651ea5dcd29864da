import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, lchownSync, mkdirSync, symlinkSync, utimesSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import { z } from 'zod'
import { codeOf } from '../registry/errors.ts'
import { zstdChunkBytes } from '../registry/zstd.ts'
import { spreadFolders } from '../sandbox/spread-folder.ts'
import { archive } from './archive.ts'
import { readInside } from './inside.ts'
import { leftOut, reachablePackages, type Wanted } from './module-graph.ts'
import {
  checkTree,
  copyTree,
  indexTree,
  isGenerated,
  isLeftover,
  type ModuleIndex,
  placeTree,
  Stale,
} from './module-tree.ts'
import { runtimeDependencies } from './package-json.ts'
import { type Owner, unpack } from './source.ts'
import { readWalked, type Walked, walk } from './walk.ts'

/** Dependencies as they go into a bundle. */
export type ModulesArchive = {
  /** Path of a zstd frame of tar, without the end marker. */
  frame: string
  sha256: string
  /** What came out of this frame when it was unpacked, to be sure. */
  tree: string
  /** Puts that into a folder. */
  place(into: string): void
  /** To be called when the frame turns out to be another than it was: the next build makes it anew. */
  discard(): Promise<void>
}

export type ArchiveForm = {
  /** False leaves out what tools have generated into `node_modules/.<tool>`, for builds that generate it anew. */
  withGenerated: boolean
  /** Only what these reach; none: everything. */
  wanted?: Wanted | null
  owner: Owner | null
}

/** A folder of traced dependencies. */
export type Traced = { root: string; from: string; below: string; owner: Owner | null }

const keptEntries = 4

/**
 * Installed dependencies of one app, by a digest of all that decides what is installed. A hit links the files into place instead of running
 * a package manager. Builds see their own names for the files: one that was written to in place is noticed by its size and time, and then
 * the entry counts for nothing.
 */
export class DependencyCache {
  readonly #directory: string
  readonly #say: (line: string) => void

  /** `say` takes a line for the build's log. */
  constructor(directory: string, { say = () => undefined }: { say?: (line: string) => void } = {}) {
    this.#directory = directory
    this.#say = say
  }

  /** Puts the dependencies of `key` into `into`, a directory that must not exist. Returns the roots in it; null: there are none for the key. */
  async restore(key: string, into: string, owner: Owner | null): Promise<string[] | null> {
    const roots = await this.#use(key, async (index, tree) => {
      mkdirSync(into, { mode: 0o700 })
      placeTree(index, tree, into, owner)
      return index.roots
    })
    if (!roots) await rm(into, { recursive: true, force: true })
    return roots
  }

  /**
   * Makes `<app>/node_modules` a symlink to the dependencies of `key`, for programs that only read them. False: there are none for the key,
   * they do not lie in one folder, or one of them is a link to another folder of the app, which would lead elsewhere from there.
   */
  async lend(key: string, app: string, owner: Owner | null): Promise<boolean> {
    const lent = await this.#use(key, async (index, tree) => {
      if (index.roots.length !== 1 || index.roots[0] !== 'node_modules' || hasLinkOut(index)) return false
      checkTree(index, tree)
      symlinkSync(join(tree, 'node_modules'), join(app, 'node_modules'))
      if (owner) lchownSync(join(app, 'node_modules'), owner.uid, owner.gid)
      return true
    })
    return lent ?? false
  }

  /** Keeps what was installed below `app` in these roots. What the cache has already for the key stays. */
  async keep(key: string, app: string, { roots, owner }: { roots: string[]; owner: Owner | null }): Promise<void> {
    await this.#make(join(this.#directory, key), async (making) => {
      const index = copyTree(roots, app, join(making, 'tree'), owner)
      await writeFile(join(making, 'index.json'), JSON.stringify(index))
    })
    await this.#trim()
  }

  /** The dependencies of `key` for a bundle; packed, and unpacked again, when first asked for. Null: the cache has none for the key. */
  async archive(key: string, { withGenerated, wanted = null, owner }: ArchiveForm): Promise<ModulesArchive | null> {
    const entry = join(this.#directory, key)
    const chosen = wanted && (await this.#choose(entry, wanted))
    const form = `archive${withGenerated ? '' : '-plain'}${chosen ? `-${chosen.name}` : ''}`
    const place = join(entry, form)
    const kept = await this.#openArchive(place)
    if (kept) {
      markUsed(entry)
      return kept
    }
    const index = await this.#readOrDrop(entry, () => readIndex(entry))
    if (!index) return null
    const skip = (path: string) =>
      isLeftover(path) || (!withGenerated && isGenerated(path, index.roots)) || chosen?.skip(path) === true
    await this.#make(place, (making) => pack(index, { tree: join(entry, 'tree'), making, skip, owner }))
    return this.#openArchive(place)
  }

  /**
   * What a build has traced of its dependencies and left in the folder `from` below `root`, for a bundle, where it lies in `below`: packed, and unpacked
   * again, when these very files are seen for the first time.
   */
  async archiveTraced({ root, from, below, owner }: Traced): Promise<ModulesArchive | null> {
    const entries = () => walk(root, { from, below, uid: owner?.uid ?? null })
    const place = join(this.#directory, `traced-${digestOf(entries())}`)
    const kept = await this.#openArchive(place)
    if (kept) {
      markUsed(place)
      return kept
    }
    await this.#make(place, (making) => packWalk([below], entries(), making))
    await this.#trim()
    return this.#openArchive(place)
  }

  /** Removes what is left of a former self that was killed. */
  async sweep(): Promise<void> {
    for (const name of await namesIn(this.#directory))
      if (name.startsWith('.making-')) await rm(join(this.#directory, name), { recursive: true, force: true })
  }

  // Named by the packages that are kept: the same ones are the same bytes.
  async #choose(entry: string, wanted: Wanted): Promise<{ name: string; skip: (path: string) => boolean } | null> {
    const index = await this.#readOrDrop(entry, () => readIndex(entry))
    if (!index) return null
    const tree = join(entry, 'tree')
    const readPackage = (folder: string) => runtimeDependencies(readInside(tree, `${folder}/package.json`) ?? '')
    const reached = reachablePackages(wanted, { index, readPackage })
    const digest = createHash('sha256').update(JSON.stringify([[...reached].sort(), wanted.unused]))
    return { name: digest.digest('hex').slice(0, 16), skip: leftOut(reached, wanted, index) }
  }

  async #use<T>(key: string, use: (index: ModuleIndex, tree: string) => Promise<T>): Promise<T | null> {
    const entry = join(this.#directory, key)
    return this.#readOrDrop(entry, async () => {
      const index = await readIndex(entry)
      if (!index) return null
      const used = await use(index, join(entry, 'tree'))
      markUsed(entry)
      return used
    })
  }

  async #openArchive(place: string): Promise<ModulesArchive | null> {
    return this.#readOrDrop(place, async () => {
      const index = await readIndex(place)
      if (!index) return null
      const unpacked = join(place, 'unpacked')
      const frame = join(place, 'modules.tar.zst')
      if (!index.frame || (await stat(frame)).size !== index.frame.size) throw new Stale(`${frame} is not as it was`)
      checkTree(index, unpacked)
      return {
        frame,
        sha256: index.frame.sha256,
        tree: unpacked,
        place: (into) => placeTree(index, unpacked, into, null),
        discard: () => this.#drop(place),
      }
    })
  }

  // Whatever is wrong with what was kept, a build can do without; a full disk is another matter.
  async #readOrDrop<T>(place: string, read: () => Promise<T | null>): Promise<T | null> {
    try {
      return await read()
    } catch (thrown) {
      if (['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE'].includes(codeOf(thrown) ?? '')) throw thrown
      this.#say('the dependencies that were kept are not as they were any more, and are thrown away')
      await this.#drop(place)
      return null
    }
  }

  // Whole or not at all; whoever is second throws its own away. Its name is a digest nobody can guess or list.
  async #make(place: string, fill: (making: string) => Promise<void>): Promise<void> {
    await mkdir(this.#directory, { recursive: true })
    await spreadFolders(this.#directory)
    const making = join(this.#directory, `.making-${randomUUID()}`)
    await mkdir(making)
    try {
      await Promise.all([chmod(this.#directory, 0o711), chmod(making, 0o711)])
      await fill(making)
      await rename(making, place)
    } catch (thrown) {
      if (codeOf(thrown) !== 'ENOTEMPTY' && codeOf(thrown) !== 'EEXIST') throw thrown
    } finally {
      await rm(making, { recursive: true, force: true })
    }
  }

  // Gone in one step for whoever is linking what lies in it (unpacked-modules.ts).
  async #drop(place: string): Promise<void> {
    const going = join(this.#directory, `.making-${randomUUID()}`)
    await rename(place, going).catch((thrown: unknown) => {
      if (codeOf(thrown) !== 'ENOENT') throw thrown
    })
    await rm(going, { recursive: true, force: true })
  }

  async #trim(): Promise<void> {
    const names = (await namesIn(this.#directory)).filter((name) => !name.startsWith('.'))
    const used = await Promise.all(names.map(async (name) => ({ name, at: await usedAt(join(this.#directory, name)) })))
    used.sort((a, b) => b.at - a.at)
    for (const { name } of used.slice(keptEntries)) await this.#drop(join(this.#directory, name))
  }
}

function hasLinkOut({ links }: ModuleIndex): boolean {
  return links.some(([path, target]) => !join(dirname(path), target).startsWith('node_modules/'))
}

const compression = { chunkSize: zstdChunkBytes, params: { [constants.ZSTD_c_compressionLevel]: 3 } }
const unpackLimits = { files: 200_000, bytes: 4 * 1024 ** 3 }

type Packing = { tree: string; making: string; skip: (path: string) => boolean; owner: Owner | null }

function pack({ roots }: ModuleIndex, { tree, making, skip, owner }: Packing): Promise<void> {
  const walks = roots.map((from) => walk(tree, { from, below: from, skip, uid: owner?.uid ?? null }))
  return packWalk(roots, chained(walks), making)
}

async function packWalk(roots: string[], entries: Iterable<Walked>, making: string): Promise<void> {
  const frame = join(making, 'modules.tar.zst')
  const written = createWriteStream(frame, { flags: 'wx', mode: 0o600 })
  const hash = createHash('sha256')
  const unpacked = join(making, 'unpacked')
  // While it is packed: the two take turns with the thread, and compression has one of its own.
  const copy = new PassThrough()
  const unpacking = unpack(copy, unpacked, { limits: unpackLimits, owner: null })
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      hash.update(chunk)
      if (!copy.write(chunk)) await once(copy, 'drain')
      yield chunk
    }
    copy.end()
  }
  const packing = pipeline(
    archive(entries, { checkHardLinks: false }),
    createZstdCompress(compression),
    counted,
    written,
  )
  // Each ends with the other: what is at fault is what is thrown.
  packing.catch((thrown: Error) => copy.destroy(thrown))
  await Promise.all([packing, unpacking])
  const present = await Promise.all(roots.map((root) => isThere(join(unpacked, root))))
  const index = indexTree(
    unpacked,
    roots.filter((_, at) => present[at]),
    null,
  )
  const described = { size: written.bytesWritten, sha256: hash.digest('hex') }
  await writeFile(join(making, 'index.json'), JSON.stringify({ ...index, frame: described }))
}

function digestOf(entries: Iterable<Walked>): string {
  const hash = createHash('sha256')
  for (const entry of entries) {
    if (entry.kind !== 'file') hash.update(JSON.stringify(entry))
    else hash.update(JSON.stringify([entry.path, entry.size, entry.isExecutable])).update(readWalked(entry))
  }
  return hash.digest('hex').slice(0, 40)
}

function* chained<T>(parts: Iterable<T>[]): Generator<T> {
  for (const part of parts) yield* part
}

function markUsed(entry: string): void {
  const now = new Date()
  utimesSync(entry, now, now)
}

async function usedAt(entry: string): Promise<number> {
  try {
    return (await stat(entry)).mtimeMs
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return 0
    throw thrown
  }
}

const listed = z.object({
  roots: z.array(z.string()),
  directories: z.array(z.string()),
  files: z.array(z.tuple([z.string(), z.number(), z.number()])),
  links: z.array(z.tuple([z.string(), z.string()])),
  /** Of an archive. */
  frame: z.object({ size: z.number(), sha256: z.string() }).optional(),
})

// Null: there is none. Throws when it is not whole.
async function readIndex(entry: string): Promise<z.infer<typeof listed> | null> {
  try {
    return listed.parse(JSON.parse(await readFile(join(entry, 'index.json'), 'utf8')))
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
