import { closeSync, fchownSync, lchownSync, mkdirSync, openSync, symlinkSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { Parser, type ReadEntry } from 'tar'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'
import { zstdChunkBytes } from '../registry/zstd.ts'
import { staysInside } from './links.ts'
import type { SourceTree } from './source-tree.ts'
import { unpackedTree } from './unpacked-tree.ts'

export type UnpackLimits = { files: number; bytes: number }
export type Owner = { uid: number; gid: number }

export type UnpackDeps = {
  limits: UnpackLimits
  /** Who the files are given to; null: they stay this process's own. */
  owner: Owner | null
  signal?: AbortSignal
}

/**
 * Unpacks a `.tar.zst` into a directory that must not exist: regular files, directories, and relative symlinks that stay inside; anything
 * else, and more than the limits, is refused with SOURCE_INVALID before a byte of it is written. Returns the tree as it was unpacked.
 */
export async function unpack(
  archive: Readable,
  into: string,
  { limits, owner, signal }: UnpackDeps,
): Promise<SourceTree> {
  const unpacking = new Unpacking(into, limits, owner)
  try {
    await pipeline(
      archive,
      createZstdDecompress({ chunkSize: zstdChunkBytes }),
      (source) => unpacking.writeAll(source),
      { signal },
    )
    return unpacking.finish()
  } catch (thrown) {
    if (thrown instanceof AppError || signal?.aborted) throw thrown
    // Errors of the store have their own code; what is left is an archive that zstd or tar cannot read, or a disk that is full.
    if (codeOf(thrown) === 'ENOSPC') throw new AppError('INTERNAL', 'the disk is full', { cause: thrown })
    throw new AppError('SOURCE_INVALID', `the source cannot be unpacked: ${messageOf(thrown)}`, { cause: thrown })
  } finally {
    unpacking.close()
  }
}

// Everything is written before anybody else may look inside: the top directory is this process's alone until `finish` gives it away, and
// symlinks are made last, so no file can be written through one.
class Unpacking {
  readonly #into: string
  readonly #limits: UnpackLimits
  readonly #owner: Owner | null
  readonly #parser: Parser
  readonly #files = new Set<string>()
  readonly #directories = new Set<string>()
  readonly #links: { path: string; target: string }[] = []
  #bytes = 0
  #entries = 0
  #descriptor: number | null = null
  #failure: unknown = null

  constructor(into: string, limits: UnpackLimits, owner: Owner | null) {
    this.#into = into
    this.#limits = limits
    this.#owner = owner
    this.#parser = new Parser({ strict: true, maxMetaEntrySize: 65_536, onReadEntry: (entry) => this.#take(entry) })
    this.#parser.on('error', (error) => this.#fail(error))
    // Kinds the parser does not know, sparse files among them, and it would leave out without a word.
    this.#parser.on('ignoredEntry', ({ path, type }: ReadEntry) =>
      this.#fail(refused(`${path} is a ${type}; only files, folders and symlinks inside the app are taken`)),
    )
    mkdirSync(into, { mode: 0o700 })
  }

  async writeAll(chunks: AsyncIterable<Buffer>): Promise<void> {
    for await (const chunk of chunks) {
      this.#parser.write(chunk)
      if (this.#failure) throw this.#failure
    }
  }

  finish(): SourceTree {
    this.#parser.end()
    if (this.#failure) throw this.#failure
    for (const { path, target } of this.#links) {
      this.#makeParent(path)
      symlinkSync(target, join(this.#into, path))
    }
    this.#giveAway()
    const links = this.#links.map(({ path, target }): [string, string] => [path, target])
    return unpackedTree(this.#into, { files: this.#files, directories: this.#directories, links })
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor)
    this.#descriptor = null
  }

  #take(entry: ReadEntry): void {
    try {
      this.#takeChecked(entry)
    } catch (thrown) {
      this.#fail(thrown)
      entry.resume()
    }
  }

  #takeChecked(entry: ReadEntry): void {
    const path = plainPath(entry.path)
    // The directory itself, and a repository's own data in an uploaded folder.
    if (path === '' || path === '.git' || path.startsWith('.git/')) return void entry.resume()

    this.#entries += 1
    this.#bytes += entry.size
    if (this.#entries > this.#limits.files) throw refused(`it has more than ${this.#limits.files} files`)
    if (this.#bytes > this.#limits.bytes)
      throw refused(
        `it is larger than ${Math.round(this.#limits.bytes / 1_048_576)} MB (ATELIER_CHECKOUT_MAX_MB on the server)`,
      )

    if (entry.type === 'Directory') {
      this.#makeDirectory(path)
      entry.resume()
    } else if (entry.type === 'SymbolicLink') {
      const target = entry.linkpath ?? ''
      if (!staysInside(path, target))
        throw refused(`${path} is a symlink to ${JSON.stringify(target)}, outside the app`)
      this.#links.push({ path, target })
      entry.resume()
    } else if (entry.type === 'File' || entry.type === 'OldFile' || entry.type === 'ContiguousFile') {
      this.#writeFile(path, entry)
    } else {
      throw refused(`${path} is a ${entry.type}; only files, folders and symlinks inside the app are taken`)
    }
  }

  #writeFile(path: string, entry: ReadEntry): void {
    this.#makeParent(path)
    const descriptor = openSync(join(this.#into, path), 'wx', (entry.mode ?? 0) & 0o111 ? 0o755 : 0o644)
    this.#descriptor = descriptor
    if (this.#owner) fchownSync(descriptor, this.#owner.uid, this.#owner.gid)
    entry.on('data', (chunk: Buffer) => {
      try {
        if (!this.#failure) writeSync(descriptor, chunk)
      } catch (thrown) {
        this.#fail(thrown)
      }
    })
    entry.on('end', () => this.close())
    this.#files.add(path)
  }

  #makeParent(path: string): void {
    const parent = dirname(path)
    if (parent !== '.') this.#makeDirectory(parent)
  }

  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) return
    this.#makeParent(path)
    mkdirSync(join(this.#into, path), { mode: 0o755 })
    this.#directories.add(path)
  }

  #giveAway(): void {
    if (!this.#owner) return
    const { uid, gid } = this.#owner
    for (const { path } of this.#links) lchownSync(join(this.#into, path), uid, gid)
    for (const path of this.#directories) lchownSync(join(this.#into, path), uid, gid)
    lchownSync(this.#into, uid, gid)
  }

  #fail(error: unknown): void {
    this.#failure ??= error
  }
}

/** The path of an entry, without `./` and trailing slashes. Throws SOURCE_INVALID for every path that could mean another place. */
function plainPath(path: string): string {
  const plain = path
    .replace(/^(\.\/)+/, '')
    .replace(/\/+$/, '')
    .replace(/^\.$/, '')
  const isPlain =
    !plain.startsWith('/') &&
    plain.length <= 1024 &&
    !/[\u0000-\u001f\u007f]/.test(plain) &&
    (plain === '' || plain.split('/').every((part) => part !== '' && part !== '.' && part !== '..'))
  if (!isPlain) throw refused(`it holds the path ${JSON.stringify(path.slice(0, 200))}`)
  return plain
}

function refused(why: string): AppError {
  return new AppError('SOURCE_INVALID', `the source cannot be taken: ${why}`)
}
