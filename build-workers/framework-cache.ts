import { createHash } from 'node:crypto'
import { closeSync, lchownSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'
import { directoryFlags, isFolderInside, openInside, placeOf } from './inside.ts'
import { walk } from './walk.ts'
import { removeAs, type Workspace } from './workspace.ts'

export type FrameworkCacheDeps = {
  workspace: Workspace
  /** What one app's caches may hold together. */
  largestBytes: number
  /** Takes a line for the build's log. */
  say: (line: string) => void
}

/**
 * What frameworks keep to make their next build faster, from one build of an app to the next. It is moved into a build and out of it again, so
 * that each build has it to itself; of two builds at once the second begins without. All in it belongs to the user of this app's builds. Beside it
 * stands what was in it when it was taken, written by the platform: what is not as it was counts for nothing.
 */
export class FrameworkCache {
  readonly #directory: string
  readonly #deps: FrameworkCacheDeps

  /** `directory`: the platform's own, for one app. */
  constructor(directory: string, deps: FrameworkCacheDeps) {
    this.#directory = directory
    this.#deps = deps
  }

  /** Removes what was on its way in or out when a former self was killed. */
  static async sweep(directory: string): Promise<void> {
    const names = await readdir(directory).catch((thrown: unknown): string[] => {
      if (codeOf(thrown) === 'ENOENT') return []
      throw thrown
    })
    for (const name of names) {
      const other = name.endsWith('.json') ? name.slice(0, -5) : `${name}.json`
      if (!names.includes(other)) await rm(join(directory, name), { recursive: true, force: true })
    }
  }

  /**
   * Runs a build with what earlier ones have left in these folders (relative to the workspace's `app`), and keeps what it leaves there. A build that fails
   * by itself has kept its cache in order; of one that was ended in the midst of it nothing is kept.
   */
  async during<T>(folders: string[], build: () => Promise<T>): Promise<T> {
    // What is there already came with the source, or with what was installed, and is no cache of ours.
    const own = folders.filter((folder) => !isFolderInside(this.#deps.workspace.app, folder))
    for (const folder of own) await this.#orSay(folder, () => this.#lend(folder))
    let isWhole = false
    try {
      const built = await build()
      isWhole = true
      return built
    } catch (thrown) {
      isWhole = thrown instanceof AppError && /exited with \d+$/.test(thrown.message)
      throw thrown
    } finally {
      if (isWhole) for (const folder of own) await this.#orSay(folder, () => this.#keep(folder))
    }
  }

  // A build can do without.
  async #orSay(folder: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (thrown) {
      this.#deps.say(`the cache of ${folder} is not kept: ${messageOf(thrown).replace('; it cannot be published', '')}`)
    }
  }

  async #lend(folder: string): Promise<void> {
    const kept = this.#placeOf(folder)
    if (!isFolder(kept)) return
    if (!this.#isAsKept(kept)) {
      this.#deps.say(`the cache of ${folder} was damaged and is thrown away`)
      return this.#drop(kept, this.#directory)
    }
    const parents = dirname(folder) === '.' ? [] : dirname(folder).split('/')
    for (const at of parents.keys()) this.#makeFolder(parents.slice(0, at + 1).join('/'))
    const isLent = this.#within(dirname(folder), (place) => move(kept, join(place, basename(folder))))
    if (isLent) rmSync(`${kept}.json`)
  }

  async #keep(folder: string): Promise<void> {
    const { workspace, say, largestBytes } = this.#deps
    await mkdir(this.#directory, { recursive: true })
    await chmod(this.#directory, 0o711)
    const kept = this.#placeOf(folder)
    const taken = workspace.beside(`taken-${basename(kept)}`)
    if (!this.#within(dirname(folder), (place) => move(join(place, basename(folder)), taken))) return
    try {
      if (!isFolder(taken)) return
      const list = this.#list(workspace.root, basename(taken))
      const size = list.reduce((sum, [, bytes]) => sum + (typeof bytes === 'number' ? bytes : 0), 0)
      if (size > largestBytes)
        return say(`the cache of ${folder} is larger than ${largestBytes / 1_048_576} MB and is not kept`)
      // Of another build of the app, which ran at the same time.
      const replaced = workspace.beside(`replaced-${basename(kept)}`)
      if (move(kept, replaced)) await this.#drop(replaced, workspace.root)
      if (move(taken, kept)) writeFileSync(`${kept}.json`, JSON.stringify(list), { mode: 0o600 })
    } finally {
      if (isThere(taken)) await this.#drop(taken, workspace.root)
    }
  }

  #placeOf(folder: string): string {
    return join(this.#directory, createHash('sha256').update(folder).digest('hex').slice(0, 16))
  }

  #isAsKept(kept: string): boolean {
    try {
      return readFileSync(`${kept}.json`, 'utf8') === JSON.stringify(this.#list(this.#directory, basename(kept)))
    } catch (thrown) {
      if (thrown instanceof AppError || codeOf(thrown) === 'ENOENT') return false
      throw thrown
    }
  }

  /** Throws OUTPUT_INVALID for what no cache should hold, such as links to elsewhere and files of others. */
  #list(root: string, from: string): (string | number)[][] {
    const list: (string | number)[][] = []
    for (const entry of walk(root, { from, uid: this.#deps.workspace.user.uid }))
      list.push(entry.kind === 'file' ? [entry.path, entry.size, entry.mtimeMs] : [entry.path, entry.kind])
    return list
  }

  async #drop(path: string, within: string): Promise<void> {
    await removeAs(this.#deps.workspace.user, [path], within)
    await rm(path, { recursive: true, force: true })
    await rm(`${path}.json`, { force: true })
  }

  #makeFolder(folder: string): void {
    const { owner } = this.#deps.workspace
    this.#within(dirname(folder), (place) => {
      const made = join(place, basename(folder))
      try {
        mkdirSync(made, { mode: 0o700 })
      } catch (thrown) {
        if (codeOf(thrown) === 'EEXIST') return true
        throw thrown
      }
      if (owner) lchownSync(made, owner.uid, owner.gid)
      return true
    })
  }

  // A program of the app's may have put a symlink in the place of any folder: each is opened by itself. False: there is no such folder.
  #within(folder: string, act: (place: string) => boolean): boolean {
    const { app } = this.#deps.workspace
    const path = folder === '.' ? '' : folder
    try {
      const descriptor = openInside(app, path, directoryFlags)
      try {
        return act(placeOf(descriptor, join(app, path)))
      } finally {
        closeSync(descriptor)
      }
    } catch (thrown) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(thrown) ?? '')) return false
      throw thrown
    }
  }
}

// False: there is nothing to move, or the place is taken.
function move(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  }
}

function isFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
