import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, mkdir, mkdtemp, rename, rm, stat, symlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { type ReadEntry, Unpack } from 'tar'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { AppError, codeOf } from '../../registry/errors.ts'
import { zstdChunkBytes } from '../../registry/zstd.ts'
import { spreadFolders } from '../../sandbox/spread-folder.ts'
import { download } from './download.ts'
import { linkTree } from './link-tree.ts'

export type ServerArchive = {
  key: string
  sha256: string
  /** The dependencies' frame in it, if it is known to have one. */
  modules?: ModulesFrame | null
}
export type ModulesFrame = { offset: number; size: number; sha256: string }
export type UnpackLimits = { maxEntries: number; maxBytes: number }

const defaultLimits: UnpackLimits = { maxEntries: 200_000, maxBytes: 4 * 1024 ** 3 }

/**
 * Unpacks a bundle's server code to `directory`, which is there whole or not at all; one that is there already is taken as it is.
 * The archive is checked against its digest before the first entry is written, and only files, directories and links that stay inside
 * come out of it. Dependencies are unpacked once per digest below `modulesDirectory` and linked from there (340 files of Express: 330 ms
 * to unpack, 30 ms to link), and not at all when they are in `unpackedModules` already, whole or not there (unpacked-modules.ts). Throws STORE_CORRUPT, STORE_UNAVAILABLE.
 */
export async function unpackServerCode(
  store: BundleStore,
  archive: ServerArchive,
  directory: string,
  {
    limits = defaultLimits,
    modulesDirectory = null,
    unpackedModules = null,
  }: { limits?: UnpackLimits; modulesDirectory?: string | null; unpackedModules?: string | null } = {},
): Promise<void> {
  if (await isDirectory(directory)) return
  await mkdir(dirname(directory), { recursive: true, mode: 0o711 })
  const temporary = await mkdtemp(`${directory}.`)
  try {
    const local = await verifiedArchive(store, archive, temporary)
    const tree = join(temporary, 'tree')
    await mkdir(tree, { mode: 0o755 })
    const { key, modules } = archive
    if (modules && modulesDirectory) {
      await unpack(local, tree, { key, limits, from: 0, upTo: modules.offset })
      const place = join(modulesDirectory, modules.sha256)
      await linkTree(await bringModules(local, modules, place, { key, limits, unpackedModules }), tree)
    } else {
      await unpack(local, tree, { key, limits })
    }
    // The app runs as another user and must be able to read its own code.
    await chmod(tree, 0o755)
    await rename(tree, directory)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

// There whole or not at all, as the code itself; who uses it marks it, for its age decides how long it is kept.
async function bringModules(
  path: string,
  { offset, size }: ModulesFrame,
  directory: string,
  { key, limits, unpackedModules }: { key: string; limits: UnpackLimits; unpackedModules: string | null },
): Promise<string> {
  if (!(await isDirectory(directory))) {
    await mkdir(dirname(directory), { recursive: true, mode: 0o711 })
    await spreadFolders(dirname(directory))
    const temporary = await mkdtemp(`${directory}.`)
    try {
      const tree = join(temporary, 'tree')
      if (!unpackedModules || !(await hasLinked(unpackedModules, tree))) {
        await mkdir(tree, { mode: 0o755 })
        await unpack(path, tree, { key, limits, from: offset, upTo: offset + size })
      }
      await rename(tree, directory)
    } catch (thrown) {
      // Somebody else may have been faster.
      if (!(await isDirectory(directory))) throw thrown
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  }
  await utimes(directory, new Date(), new Date())
  return directory
}

// False: they are not there, not whole any more, or on another disk; nothing is left of the attempt.
async function hasLinked(from: string, tree: string): Promise<boolean> {
  try {
    await mkdir(tree, { mode: 0o755 })
    await linkTree(from, tree)
    // Whoever removes them takes their name away first: while it is there they were whole.
    await stat(from)
    return true
  } catch (thrown) {
    if (!['ENOENT', 'EXDEV', 'EMLINK', 'EPERM'].includes(codeOf(thrown) ?? '')) throw thrown
    await rm(tree, { recursive: true, force: true })
    return false
  }
}

// A local store's file is hashed and then read again: the two reads see the same bytes, for objects are never written twice.
async function verifiedArchive(store: BundleStore, { key, sha256 }: ServerArchive, scratch: string): Promise<string> {
  const kept = store.localPath(key)
  if (kept === null) {
    const copy = join(scratch, 'server.tar.zst')
    await download(store, { key, sha256 }, copy)
    return copy
  }
  const hash = createHash('sha256')
  await pipeline(await store.get(key), hash)
  const digest = hash.digest('hex')
  if (digest !== sha256)
    throw new AppError('STORE_CORRUPT', `${key} has the digest ${digest}, not ${sha256}; it is not started`)
  return kept
}

async function unpack(
  path: string,
  tree: string,
  { key, limits, from = 0, upTo }: { key: string; limits: UnpackLimits; from?: number; upTo?: number },
): Promise<void> {
  if (upTo !== undefined && upTo <= from) return
  let entries = 0
  let bytes = 0
  let problem: string | null = null
  // Made when everything else is there, so that nothing is written through one; one may then lead through another.
  const links = new Map<string, string>()
  const refuse = (reason: string) => {
    problem ??= reason
    return false
  }
  const unpacking = new Unpack({
    cwd: tree,
    strict: true,
    preserveOwner: false,
    noMtime: true,
    umask: 0o022,
    filter: (name, entry) => {
      const type = 'type' in entry ? entry.type : 'Unsupported'
      entries++
      bytes += entry.size ?? 0
      if (entries > limits.maxEntries) return refuse(`it holds more than ${limits.maxEntries} entries`)
      if (bytes > limits.maxBytes) return refuse(`it unpacks to more than ${limits.maxBytes} bytes`)
      if (name === './' || name === '.') return true
      if (!isPlainPath(name)) return refuse(`the path ${JSON.stringify(name)} leaves it`)
      if ('mode' in entry) entry.mode = (entry.mode ?? 0) & 0o111 || type === 'Directory' ? 0o755 : 0o644
      if (type === 'File' || type === 'OldFile' || type === 'Directory') return true
      if (type === 'SymbolicLink' && 'linkpath' in entry && staysInside(name, entry.linkpath ?? '')) {
        links.set(name.replace(/^\.\//, ''), entry.linkpath ?? '')
        return false
      }
      return refuse(`${name} is neither a file, a directory nor a link that stays inside`)
    },
  })
  // What the filter lets through and tar does not know, a sparse file for one, it would leave out without a word.
  unpacking.on(
    'ignoredEntry',
    ({ path: name, type }: ReadEntry) => type === 'SymbolicLink' || refuse(`${name} is a ${type}`),
  )
  const packed = createReadStream(path, { start: from, ...(upTo !== undefined && { end: upTo - 1 }) })
  await pipeline(packed, createZstdDecompress({ chunkSize: zstdChunkBytes }), unpacking)
  if (problem) throw new AppError('STORE_CORRUPT', `${key} is not unpacked: ${problem}`)
  await makeLinks(links, tree, key)
}

async function makeLinks(links: Map<string, string>, tree: string, key: string): Promise<void> {
  for (const [name, target] of links) {
    for (let above = dirname(name); above !== '.'; above = dirname(above))
      if (links.has(above)) throw new AppError('STORE_CORRUPT', `${key} is not unpacked: ${name} lies below a link`)
    await mkdir(dirname(join(tree, name)), { recursive: true, mode: 0o755 })
    await symlink(target, join(tree, name))
  }
}

function isPlainPath(name: string): boolean {
  const parts = name.replace(/^\.\//, '').replace(/\/$/, '').split('/')
  return !/[\0\\]/.test(name) && parts.every((part) => part !== '' && part !== '.' && part !== '..')
}

// Steps up only at its beginning: `..` after a component that is itself a link would start from where that link leads.
function staysInside(name: string, link: string): boolean {
  const parts = link.replace(/\/$/, '').split('/')
  const stepsUp = parts.findIndex((part) => part !== '..')
  const rest = stepsUp === -1 ? [] : parts.slice(stepsUp)
  const depth = name.replace(/^\.\//, '').split('/').length - 1
  return (stepsUp === -1 ? parts.length : stepsUp) <= depth && rest.every((part) => part !== '' && part !== '..')
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw thrown
  }
}
