import { closeSync, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../registry/errors.ts'
import { directoryFlags, fileFlags, openInside, placeOf } from './inside.ts'
import { staysInside } from './links.ts'

export type WalkedFile = {
  kind: 'file'
  /** Relative to what is published, `/`-separated. */
  path: string
  /** Open for reading until the walk goes on; not to be closed. */
  descriptor: number
  /** A path to the file through its open directory, good until the walk goes on. */
  at: string
  size: number
  isExecutable: boolean
  mtimeMs: number
  inode: number
  links: number
}
export type Walked =
  | WalkedFile
  | { kind: 'directory'; path: string }
  | { kind: 'symlink'; path: string; target: string }

export type WalkOptions = {
  /** Where below the root the walk begins; default: at the root itself. */
  from?: string
  /** Path of the walked directory in what is published, put before every path: `node_modules`. Links may lead anywhere in there. */
  below?: string
  /** Entries (and all below them) that are passed over, unread. */
  skip?: (path: string) => boolean
  /** Files must belong to this user; null: to whomever this process runs as. */
  uid: number | null
}

/**
 * Everything below a directory that a build has written, in an order that only the names decide. No step follows a symlink, also not one
 * that takes the place of a directory during the walk: each name is opened through the descriptor of its directory. What a bundle cannot
 * hold (links out, hard links to elsewhere, devices, sockets, pipes, setuid files, foreign owners, unprintable names) ends it with
 * OUTPUT_INVALID and the path.
 */
export function* walk(
  root: string,
  { from = '', below = '', skip = () => false, uid }: WalkOptions,
): Generator<Walked> {
  const owner = uid ?? process.getuid?.() ?? null
  const descriptor = openInside(root, from, directoryFlags)
  try {
    yield* walkDirectory({ at: placeOf(descriptor, join(root, from)), path: below }, { skip, owner })
  } finally {
    closeSync(descriptor)
  }
}

type Place = { at: string; path: string }
type Rules = { skip: (path: string) => boolean; owner: number | null }

function* walkDirectory(place: Place, rules: Rules): Generator<Walked> {
  for (const name of readdirSync(place.at).sort(byCodeUnits)) {
    const path = place.path ? `${place.path}/${name}` : name
    if (rules.skip(path)) continue
    checkName(path, name)
    const at = `${place.at}/${name}`
    const stats = lstatSync(at)
    if (stats.isSymbolicLink()) yield readLink(at, path)
    else if (stats.isDirectory()) yield* openDirectory(at, path, rules)
    else if (stats.isFile()) yield* openFile(at, path, rules)
    else throw unfit(path, `is a ${describeKind(stats)}`)
  }
}

function* openDirectory(at: string, path: string, rules: Rules): Generator<Walked> {
  const descriptor = openSync(at, directoryFlags)
  try {
    yield { kind: 'directory', path }
    yield* walkDirectory({ at: placeOf(descriptor, at), path }, rules)
  } finally {
    closeSync(descriptor)
  }
}

function* openFile(at: string, path: string, { owner }: Rules): Generator<Walked> {
  const descriptor = openSync(at, fileFlags)
  try {
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) throw unfit(path, `is a ${describeKind(stats)}`)
    if (stats.mode & 0o6000) throw unfit(path, 'is a setuid or setgid file')
    if (owner !== null && stats.uid !== owner)
      throw unfit(path, 'belongs to another user: a hard link to a file outside the app')
    yield {
      kind: 'file',
      path,
      descriptor,
      at,
      size: stats.size,
      isExecutable: (stats.mode & 0o111) !== 0,
      mtimeMs: stats.mtimeMs,
      inode: stats.ino,
      links: stats.nlink,
    }
  } finally {
    closeSync(descriptor)
  }
}

function readLink(at: string, path: string): Walked {
  const target = readlinkSync(at)
  if (!staysInside(path, target))
    throw unfit(path, `is a symlink to ${JSON.stringify(target)}, outside what is published`)
  const steps = target.split('/').filter((step) => step !== '' && step !== '.')
  return { kind: 'symlink', path, target: steps.join('/') || '.' }
}

/** The bytes of a walked file. Throws OUTPUT_INVALID when it is no longer as long as it was. */
export function readWalked(file: WalkedFile): Buffer {
  const bytes = Buffer.allocUnsafe(file.size)
  let at = 0
  while (at < bytes.length) {
    const read = readSync(file.descriptor, bytes, at, bytes.length - at, at)
    if (read === 0) throw unfit(file.path, 'changed while it was read')
    at += read
  }
  return bytes
}

/** Notices hard links whose other names are not part of what was walked. */
export class HardLinks {
  readonly #open = new Map<number, { path: string; left: number }>()

  see({ path, inode, links }: WalkedFile): void {
    if (links === 1) return
    const seen = this.#open.get(inode)
    this.#open.set(inode, { path, left: (seen?.left ?? links) - 1 })
  }

  /** Throws OUTPUT_INVALID naming a file that is also somewhere else. */
  check(): void {
    for (const { path, left } of this.#open.values())
      if (left > 0) throw unfit(path, 'is a hard link to a file outside what is published')
  }
}

export function unfit(path: string, why: string): AppError {
  return new AppError('OUTPUT_INVALID', `${JSON.stringify(path).slice(1, -1)} ${why}; it cannot be published`)
}

function checkName(path: string, name: string): void {
  if (/[\u0000-\u001f\u007f\\\ufffd]/.test(name)) throw unfit(path, 'has a name with a control character or backslash')
  if (path.length > 1024) throw unfit(join(path.slice(0, 100), '…'), 'has a path longer than 1024 characters')
}

function describeKind(stats: Stats): string {
  if (stats.isFIFO()) return 'pipe'
  if (stats.isSocket()) return 'socket'
  return stats.isBlockDevice() || stats.isCharacterDevice() ? 'device' : 'thing of no known kind'
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
