import { closeSync, lchownSync, lstatSync, mkdirSync, renameSync } from 'node:fs'
import { chmod, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { codeOf } from '../registry/errors.ts'
import { diskUsage } from '../sandbox/disk-usage.ts'
import { directoryFlags, openInside, placeOf } from './inside.ts'
import { removeAs, type Workspace } from './workspace.ts'

const largestBytes = 1024 ** 3

/**
 * What a framework keeps to make its next build faster, from one build of an app to the next. It is moved into a build and out of it again, so
 * that each build has it to itself; of two builds at once the second begins without. All in it belongs to the user of this app's builds.
 */
export class FrameworkCache {
  readonly #directory: string
  readonly #workspace: Workspace

  /** `directory`: the platform's own, for one app. */
  constructor(directory: string, workspace: Workspace) {
    this.#directory = directory
    this.#workspace = workspace
  }

  /** Moves what an earlier build left to `name` in a folder of the app, which is made. False: there is nothing. */
  async lend(folder: string, name: string, as: string): Promise<boolean> {
    if (!isFolder(join(this.#directory, as))) return false
    for (const [at] of folder.split('/').entries())
      this.#makeFolder(
        folder
          .split('/')
          .slice(0, at + 1)
          .join('/'),
      )
    return this.#within(folder, (place) => move(join(this.#directory, as), join(place, name)))
  }

  /** Takes it back when the build has ended, unless it has become larger than a gigabyte. */
  async keep(folder: string, name: string, as: string): Promise<void> {
    const { user } = this.#workspace
    await mkdir(this.#directory, { recursive: true })
    await chmod(this.#directory, 0o711)
    const taken = this.#workspace.beside(`taken-${as}`)
    if (!this.#within(folder, (place) => move(join(place, name), taken))) return
    const kept = join(this.#directory, as)
    // Of another build of the app, which ran at the same time.
    if (isFolder(kept)) await removeAs(user, [kept], this.#directory)
    const isLarge = (await diskUsage([taken], largestBytes)) > largestBytes
    if (isLarge || !isFolder(taken) || !move(taken, kept)) await removeAs(user, [taken], this.#workspace.root)
  }

  #makeFolder(folder: string): void {
    const { owner } = this.#workspace
    this.#within(dirname(folder), (place) => {
      const made = join(place, folder.slice(folder.lastIndexOf('/') + 1))
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
    const path = folder === '.' ? '' : folder
    try {
      const descriptor = openInside(this.#workspace.app, path, directoryFlags)
      try {
        return act(placeOf(descriptor, join(this.#workspace.app, path)))
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
