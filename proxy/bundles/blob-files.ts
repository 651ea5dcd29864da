import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { blobKey } from '../../registry/bundle-store/keys.ts'
import { AppError, codeOf } from '../../registry/errors.ts'
import { maxReadyBytes, type ReadyResponse } from '../edge/app/ready-response.ts'
import { download } from './download.ts'

export type Blob = { sha256: string; size: number }
export type BlobSource = Pick<BundleStore, 'localPath' | 'get'>

/**
 * A blob in memory. `ready` is it with the head it was last sent with, in one piece, from the second such use on; `head` says which that was, and
 * `readyAt` when it was made.
 */
export type CachedBlob = {
  bytes: Buffer
  wasUsed: boolean
  head: string[] | null
  ready: ReadyResponse | null
  readyAt: number
}

const maxMemoryBytes = 64 * 1_048_576
/** Files up to this size are served from memory. */
export const maxCachedBytes = 1_048_576

/**
 * The bytes of static files on this machine: small ones from memory (those in use, bounded), others from disk. Each blob is
 * checked against its digest once before its first byte is served.
 */
export class BlobFiles {
  readonly #store: BlobSource
  readonly #directory: string
  readonly #cached = new Map<string, CachedBlob>()
  #cachedBytes = 0
  readonly #verified = new Map<string, Promise<string>>()

  /** `directory` holds copies of blobs that the store keeps elsewhere. */
  constructor(store: BlobSource, directory: string) {
    this.#store = store
    this.#directory = directory
  }

  /** The blob, when it is in memory already. */
  cached(sha256: string): CachedBlob | null {
    const cached = this.#cached.get(sha256)
    if (cached === undefined) return null
    cached.wasUsed = true
    return cached
  }

  /** Reads a small blob into memory. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async read(blob: Blob): Promise<Buffer> {
    const path = await this.#fetched(blob)
    const bytes = await readFile(path)
    if (createHash('sha256').update(bytes).digest('hex') !== blob.sha256) throw corrupt(blob)
    this.#remember(blob.sha256, bytes)
    return bytes
  }

  /** A local path with the blob's bytes, verified. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async path(blob: Blob): Promise<string> {
    const known = this.#verified.get(blob.sha256)
    if (known) return known
    const verifying = this.#verify(blob)
    this.#verified.set(blob.sha256, verifying)
    verifying.catch(() => this.#verified.delete(blob.sha256))
    return verifying
  }

  /** Makes sure that the blob is on this machine, whole by its size; its digest is checked when it is first read. */
  async ensure(blob: Blob): Promise<void> {
    await this.#fetched(blob)
  }

  /** Copies the blob anew from a store elsewhere. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async bringAgain(sha256: string): Promise<void> {
    await download(this.#store, { key: blobKey(sha256), sha256 }, join(this.#directory, sha256))
  }

  /** Whether the store is elsewhere, so that there are copies here. */
  get keepsCopies(): boolean {
    return this.#store.localPath('blobs') === null
  }

  /** Removes copies of what the store keeps elsewhere, when no bundle on this machine refers to them any more. */
  async keepOnly(wanted: ReadonlySet<string>): Promise<void> {
    for (const name of (await readdir(this.#directory).catch(ignoreMissing)) ?? []) {
      const path = join(this.#directory, name)
      if (wanted.has(name) || (await ageMs(path)) < youngMs) continue
      this.#verified.delete(name)
      await rm(path, { force: true })
    }
  }

  async #verify(blob: Blob): Promise<string> {
    const path = await this.#fetched(blob)
    const hash = createHash('sha256')
    await pipeline(createReadStream(path), hash)
    if (hash.digest('hex') !== blob.sha256) throw corrupt(blob)
    return path
  }

  async #fetched(blob: Blob): Promise<string> {
    const key = blobKey(blob.sha256)
    const kept = this.#store.localPath(key)
    const path = kept ?? join(this.#directory, blob.sha256)
    const size = await sizeOf(path)
    if (kept !== null && size !== blob.size)
      throw new AppError('STORE_CORRUPT', `the blob ${blob.sha256} holds ${size ?? 'no'} bytes, not ${blob.size}`)
    if (kept === null && size === blob.size) await utimes(path, new Date(), new Date())
    if (kept === null && size !== blob.size) await download(this.#store, { key, sha256: blob.sha256 }, path)
    return path
  }

  // The clock (second chance) instead of an order by use: a use costs one write, where a Map in order of use costs two a request.
  #remember(sha256: string, bytes: Buffer): void {
    if (bytes.length > maxCachedBytes || this.#cached.has(sha256)) return
    this.#cached.set(sha256, { bytes, wasUsed: false, head: null, ready: null, readyAt: Number.NEGATIVE_INFINITY })
    this.#cachedBytes += bytes.length + readyBytes(bytes)
    for (const [oldest, cached] of this.#cached) {
      if (this.#cachedBytes <= maxMemoryBytes) break
      this.#cached.delete(oldest)
      if (cached.wasUsed) this.#cached.set(oldest, Object.assign(cached, { wasUsed: false }))
      else this.#cachedBytes -= cached.bytes.length + readyBytes(cached.bytes)
    }
  }
}

// What a small one may come to hold besides its bytes.
function readyBytes({ length }: Buffer): number {
  return length <= maxReadyBytes ? length : 0
}

// What is being brought now may not be part of a bundle yet.
const youngMs = 600_000

async function ageMs(path: string): Promise<number> {
  return Date.now() - ((await stat(path).catch(ignoreMissing))?.mtimeMs ?? Date.now())
}

async function sizeOf(path: string): Promise<number | null> {
  return (await stat(path).catch(ignoreMissing))?.size ?? null
}

function ignoreMissing(thrown: unknown): null {
  if (codeOf(thrown) === 'ENOENT') return null
  throw thrown
}

function corrupt({ sha256 }: Blob): AppError {
  return new AppError('STORE_CORRUPT', `the blob ${sha256} does not match its digest; it is not served`)
}
