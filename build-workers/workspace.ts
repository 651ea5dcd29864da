import { chmod, lchown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { removeAs } from '../sandbox/remove-as.ts'
import type { SandboxUser } from '../sandbox/users.ts'
import type { Owner } from './source.ts'

export { removeAs } from '../sandbox/remove-as.ts'

/**
 * The folder of one build, gone when the build is: `app` holds the source and becomes the build's own, `home` and `tmp` are its programs'
 * HOME and TMPDIR. The folder itself belongs to the platform, so that a build cannot put something else in a place that the platform uses;
 * `staging`, `output` and whatever else lies beside those three is closed to it.
 */
export class Workspace {
  readonly root: string
  readonly app: string
  readonly home: string
  readonly tmp: string
  readonly user: SandboxUser

  private constructor(root: string, user: SandboxUser) {
    this.root = root
    this.app = join(root, 'app')
    this.home = join(root, 'home')
    this.tmp = join(root, 'tmp')
    this.user = user
  }

  /** A fresh one; what a former attempt left in the same place goes first. */
  static async create(root: string, user: SandboxUser): Promise<Workspace> {
    const workspace = new Workspace(root, user)
    if (await mkdir(root, { recursive: true })) return workspace.#furnish()
    await workspace.remove()
    await mkdir(root)
    return workspace.#furnish()
  }

  async #furnish(): Promise<Workspace> {
    await chmod(this.root, 0o711)
    for (const folder of [this.home, this.tmp]) await makeFor(this.user, folder)
    return this
  }

  /** Whom the build's files belong to; null: this process's own user. */
  get owner(): Owner | null {
    return ownerOf(this.user)
  }

  /** A path beside the build's own folders. */
  beside(name: string): string {
    return join(this.root, name)
  }

  /** Removes everything, the build's own folders as the build's user. */
  async remove(): Promise<void> {
    await removeAs(this.user, [this.app, this.home, this.tmp], this.root)
    await rm(this.root, { recursive: true, force: true, maxRetries: 3 })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove()
  }
}

export function ownerOf(user: SandboxUser): Owner | null {
  return user.uid === null ? null : user
}

/** Makes a folder that only its user may enter. */
export async function makeFor(user: SandboxUser, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (user.uid !== null) await lchown(folder, user.uid, user.gid)
}
