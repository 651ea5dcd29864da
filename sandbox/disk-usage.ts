import { type Dir, lstatSync, opendirSync, type Stats } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { codeOf } from '../registry/errors.ts'

const turnMs = 5

/**
 * Bytes of disk that folders and all below them take up, hard links counted once; stops counting above `enough`. What lies deeper than a path can be long
 * cannot be counted, and is more than enough.
 */
export async function diskUsage(paths: string[], enough: number): Promise<number> {
  try {
    return await sumOf(paths, enough)
  } catch (thrown) {
    if (codeOf(thrown) === 'ENAMETOOLONG') return enough + 1
    throw thrown
  }
}

// Asked through Node's threads, 18,000 files cost 0.9 s of processor time, and in place 0.13 s; every few milliseconds others have a turn, also in one folder of
// 300,000, which read at once would keep them waiting for 0.4 s.
async function sumOf(paths: string[], enough: number): Promise<number> {
  const linked = new Set<number>()
  const folders = paths.filter((path) => !paths.some((other) => path.startsWith(other + sep)))
  let bytes = 0
  let turnAt = performance.now() + turnMs
  for (let folder = folders.pop(); folder !== undefined && bytes <= enough; folder = folders.pop()) {
    for (const name of namesIn(folder)) {
      if (performance.now() > turnAt) {
        await turn()
        turnAt = performance.now() + turnMs
      }
      const entry = lookAt(join(folder, name))
      if (!entry || (entry.nlink > 1 && !entry.isDirectory() && linked.has(entry.ino))) continue
      if (entry.nlink > 1 && !entry.isDirectory()) linked.add(entry.ino)
      if (entry.isDirectory()) folders.push(join(folder, name))
      bytes += entry.blocks * 512
      if (bytes > enough) break
    }
  }
  return bytes
}

/**
 * Whether folders outgrow their allowance together, asked again and again. Walking a tree of many files is dear, so it is walked only when
 * the file system as a whole has filled by a quarter of what was left, or when the last walk is ten seconds, and twenty times as long
 * as it took, ago.
 */
export class DiskAllowance {
  readonly #paths: string[]
  readonly #allowedBytes: number
  #usedWhenWalked = Number.NEGATIVE_INFINITY
  #leftWhenWalked: number
  #walkAgainAt = 0

  constructor(paths: string[], allowedMb: number) {
    this.#paths = [...new Set(paths)]
    this.#allowedBytes = allowedMb * 1_048_576
    this.#leftWhenWalked = this.#allowedBytes
  }

  async isExceeded(): Promise<boolean> {
    const fileSystem = await statfs(this.#paths[0] ?? sep).catch(nullIfGone)
    if (!fileSystem) return false
    const { blocks, bfree, bsize } = fileSystem
    const used = (blocks - bfree) * bsize
    const filled = used - this.#usedWhenWalked
    if (filled < this.#leftWhenWalked / 4 && performance.now() < this.#walkAgainAt) return false

    const started = performance.now()
    const bytes = await diskUsage(this.#paths, this.#allowedBytes)
    const ended = performance.now()
    this.#usedWhenWalked = used
    this.#leftWhenWalked = this.#allowedBytes - bytes
    this.#walkAgainAt = ended + Math.max(10_000, 20 * (ended - started))
    return bytes > this.#allowedBytes
  }
}

function* namesIn(folder: string): Generator<string> {
  const names = openFolder(folder)
  if (!names) return
  try {
    for (let entry = names.readSync(); entry; entry = names.readSync()) yield entry.name
  } finally {
    names.closeSync()
  }
}

function openFolder(folder: string): Dir | null {
  try {
    return opendirSync(folder, { bufferSize: 256 })
  } catch (thrown) {
    return nullIfGone(thrown)
  }
}

function lookAt(path: string): Stats | null {
  try {
    return lstatSync(path)
  } catch (thrown) {
    return nullIfGone(thrown)
  }
}

// A build renames and removes while it is being counted, and a folder may be closed to everybody but its owner, or have become a link to itself.
function nullIfGone(thrown: unknown): null {
  if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'].includes(codeOf(thrown) ?? '')) return null
  throw thrown
}
