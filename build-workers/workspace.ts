import { lstatSync } from 'node:fs'
import { chmod, lchown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { launch } from '../sandbox/launch.ts'
import type { SandboxUser } from '../sandbox/users.ts'
import type { Owner } from './source.ts'

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

/**
 * Empties folders that a build's user has filled, as that user: no folder that a left-over process swaps for a symlink in mid-removal can lead to
 * anything that user could not remove by itself. The folders themselves stay. `within` is the platform's folder that they lie in.
 */
export async function removeAs(user: SandboxUser, folders: string[], within: string): Promise<void> {
  const paths = folders.filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory())
  if (paths.length === 0) return
  const run = async (file: string, args: string[]) => {
    const launched = await launch({
      name: 'remove a build',
      file,
      args,
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      user,
      writable: [within],
      limits: { timeoutMs: 120_000 },
    })
    return (await launched.exited).code
  }
  const empty = () => run('/usr/bin/find', [...paths, '-mindepth', '1', '-delete'])
  if ((await empty()) === 0) return
  // Some tools leave folders that not even their owner may write to.
  await run('/bin/chmod', ['-R', 'u+rwX', '--', ...paths])
  if ((await empty()) !== 0) await run('/bin/rm', ['-rf', '--', ...paths])
}

export function ownerOf(user: SandboxUser): Owner | null {
  return user.uid === null ? null : user
}

/** Makes a folder that only its user may enter. */
export async function makeFor(user: SandboxUser, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (user.uid !== null) await lchown(folder, user.uid, user.gid)
}
