import {
  chmodSync,
  copyFileSync,
  constants as fsConstants,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  symlinkSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { codeOf } from '../registry/errors.ts'
import type { Owner } from './source.ts'
import { walk } from './walk.ts'

/** What lies in a tree of installed dependencies, entry by entry; paths are relative to the app. */
export type ModuleIndex = {
  /** The folders that were kept: `node_modules`, `packages/web/node_modules`. */
  roots: string[]
  directories: string[]
  files: [path: string, size: number, mtimeMs: number][]
  links: [path: string, target: string][]
}

/** A tree is not as it was kept: somebody wrote into a file through another of its names. */
export class Stale extends Error {}

/** Lists a tree. `take` is called for every entry in an order in which they can be made again. */
export function indexTree(
  root: string,
  roots: string[],
  owner: Owner | null,
  take: (entry: ReturnType<typeof walk> extends Generator<infer Entry> ? Entry : never) => number | undefined = () =>
    undefined,
): ModuleIndex {
  const index: ModuleIndex = { roots, directories: [], files: [], links: [] }
  for (const from of roots) {
    for (const entry of walk(root, { from, below: from, uid: owner?.uid ?? null, skip: isLeftover })) {
      const mtimeMs = take(entry)
      if (entry.kind === 'directory') index.directories.push(entry.path)
      else if (entry.kind === 'symlink') index.links.push([entry.path, entry.target])
      else index.files.push([entry.path, entry.size, mtimeMs ?? entry.mtimeMs])
    }
  }
  return index
}

/** Makes a second tree of the same files, by links, and lists it. */
export function copyTree(roots: string[], from: string, to: string, owner: Owner | null): ModuleIndex {
  mkdirSync(to)
  for (const root of roots) mkdirSync(join(to, root), { recursive: true })
  return indexTree(from, roots, owner, (entry) => {
    const target = join(to, entry.path)
    if (entry.kind === 'directory') return void mkdirSync(target)
    if (entry.kind === 'symlink') return void symlinkSync(entry.target, target)
    // A link is the same file, and there are thousands.
    return linkOrCopy(entry.at, target, entry.path, owner) ? entry.mtimeMs : lstatSync(target).mtimeMs
  })
}

/** Puts a listed tree into a folder, by links; folders and symlinks are the owner's. Throws Stale. */
export function placeTree(index: ModuleIndex, from: string, into: string, owner: Owner | null): void {
  const give = (path: string) => owner && lchownSync(path, owner.uid, owner.gid)
  for (const root of index.roots) {
    mkdirSync(join(into, root), { recursive: true })
    give(join(into, root))
  }
  for (const path of index.directories) {
    mkdirSync(join(into, path))
    give(join(into, path))
  }
  for (const file of index.files) {
    checkFile(from, file)
    linkOrCopy(join(from, file[0]), join(into, file[0]), file[0], owner)
  }
  for (const [path, target] of index.links) {
    symlinkSync(target, join(into, path))
    give(join(into, path))
  }
}

/** Throws Stale when a file is not as it was listed. */
export function checkTree(index: ModuleIndex, root: string): void {
  for (const file of index.files) checkFile(root, file)
}

/** Moves the roots of a placed tree to their places in the app. */
export function moveRoots(roots: string[], from: string, app: string): void {
  for (const root of roots) {
    mkdirSync(dirname(join(app, root)), { recursive: true })
    renameSync(join(from, root), join(app, root))
  }
}

/** Parts of node_modules that tools keep for themselves and a running app has no use for. */
export function isLeftover(path: string): boolean {
  return /(^|\/)node_modules\/(\.cache|\.vite|\.vite-temp)$/.test(path)
}

/** Folders such as `node_modules/.prisma`, which a tool generates from the app's own files. */
export function isGenerated(path: string, roots: string[]): boolean {
  const name = basename(path)
  const isOwn = name.startsWith('.') && !['.bin', '.pnpm', '.bun'].includes(name)
  return isOwn && roots.includes(dirname(path)) && !isLeftover(path)
}

function checkFile(root: string, [path, size, mtimeMs]: ModuleIndex['files'][number]): void {
  const stats = lstatSync(join(root, path))
  if (!stats.isFile() || stats.size !== size || stats.mtimeMs !== mtimeMs) throw new Stale(`${path} was written to`)
}

// True: it is a link.
function linkOrCopy(from: string, to: string, path: string, owner: Owner | null): boolean {
  if (!isRewritten(path) && tryLink(from, to)) return true
  copyFileSync(from, to, fsConstants.COPYFILE_EXCL | fsConstants.COPYFILE_FICLONE)
  chmodSync(to, lstatSync(from).mode & 0o777)
  if (owner) lchownSync(to, owner.uid, owner.gid)
  return false
}

// Generated clients (.prisma) and the package managers' own notes are written anew in place by later builds; each gets its own copy.
function isRewritten(path: string): boolean {
  return /(^|\/)node_modules\/\.(?!bin\/|bun\/|pnpm\/(?!lock\.yaml))/.test(path)
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
