import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { access, link, mkdir, open, readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, sep } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError, codeOf, messageOf } from '../errors.ts'
import type { BundleStore } from './contract.ts'

/**
 * The store on a local file system: every object is written under a temporary name, synced, and linked to its own, so a reader sees it
 * whole or not at all, also after a power cut.
 */
export class FileStore implements BundleStore {
  readonly atOnce = 16
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  /** Removes what processes of this machine were writing when they were killed. */
  async removeAbandoned(): Promise<void> {
    const directory = join(this.#root, 'tmp')
    for (const name of await readdir(directory).catch(emptyWhenMissing)) {
      const pid = Number(/\.(\d+)\.[^.]+$/.exec(name)?.[1])
      if (name.startsWith(writer(pid)) && !isRunning(pid)) await rm(join(directory, name), { force: true })
    }
  }

  async put(key: string, body: Buffer | Readable, { sha256 }: { sha256?: string } = {}): Promise<void> {
    const path = this.#pathOf(key)
    const temporary = join(this.#root, 'tmp', `${writer(process.pid)}${randomUUID()}`)
    try {
      await mkdir(dirname(path), { recursive: true })
      const written = await this.#writeSynced(temporary, body)
      if (sha256 && written !== sha256)
        throw new AppError('STORE_CORRUPT', `${key}: the bytes have the digest ${written}, not ${sha256}`)
      await link(temporary, path)
      await syncDirectory(dirname(path))
    } catch (thrown) {
      if (codeOf(thrown) === 'EEXIST') return
      throw unavailable(key, thrown)
    } finally {
      await rm(temporary, { force: true })
    }
  }

  async get(key: string): Promise<Readable> {
    try {
      const file = await open(this.#pathOf(key), 'r')
      return file.createReadStream()
    } catch (thrown) {
      if (codeOf(thrown) === 'ENOENT')
        throw new AppError('STORE_CORRUPT', `the bundle store has no ${key}`, { cause: thrown })
      throw unavailable(key, thrown)
    }
  }

  async has(keys: string[]): Promise<Set<string>> {
    const found = await Promise.all(keys.map((key) => isThere(this.#pathOf(key))))
    return new Set(keys.filter((_, index) => found[index]))
  }

  async remove(keys: string | string[]): Promise<void> {
    for (const key of [keys].flat()) await rm(this.#pathOf(key), { force: true })
  }

  async list(prefix: string): Promise<string[]> {
    const directory = this.#pathOf(prefix)
    try {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true })
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(this.#root.length + 1))
    } catch (thrown) {
      if (codeOf(thrown) === 'ENOENT') return []
      throw unavailable(prefix, thrown)
    }
  }

  localPath(key: string): string | null {
    return this.#pathOf(key)
  }

  #pathOf(key: string): string {
    const path = join(this.#root, key)
    if (!path.startsWith(this.#root + sep))
      throw new AppError('INTERNAL', `the key ${JSON.stringify(key)} leaves the store`)
    return path
  }

  async #writeSynced(path: string, body: Buffer | Readable): Promise<string> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const hash = createHash('sha256')
    const hashing = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk)
        done(null, chunk)
      },
    })
    await pipeline(
      Buffer.isBuffer(body) ? Readable.from([body]) : body,
      hashing,
      createWriteStream(path, { flags: 'wx', flush: true, mode: 0o644 }),
    )
    return hash.digest('hex')
  }
}

// Two machines may write to one store.
function writer(pid: number): string {
  return `${hostname()}.${pid}.`
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (thrown) {
    return codeOf(thrown) === 'EPERM'
  }
}

// A store that cannot be used is told of by the first who wants something of it.
function emptyWhenMissing(thrown: unknown): string[] {
  if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(codeOf(thrown) ?? '')) return []
  throw thrown
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw thrown
  }
}

function unavailable(key: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  const why = codeOf(thrown) === 'ENOSPC' ? 'the disk is full' : messageOf(thrown)
  return new AppError('STORE_UNAVAILABLE', `the bundle store cannot keep or read ${key}: ${why}`, { cause: thrown })
}
