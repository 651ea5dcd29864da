import { readdirSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { App } from '../registry/apps.ts'
import { AppError, codeOf } from '../registry/errors.ts'
import type { Git } from './git.ts'

const settings = {
  config: '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n',
  // `git archive` must give the tree that was pushed: by default a file named in its own .gitattributes is left out or rewritten.
  'info/attributes': '* -export-ignore -export-subst\n',
}
const marker = 'atelier-app'
const draftPrefix = '.new-'

/** The bare repositories, one an app: `<home>/git/<app>.git`. Two gateways never share a directory. */
export class Repositories {
  readonly #root: string
  readonly #git: Git
  readonly #receiving = new Map<string, number>()

  constructor(home: string, git: Git) {
    this.#root = join(home, 'git')
    this.#git = git
  }

  /** The path of an app's repository, which is made on first use. One that an earlier, deleted app of the name left is put aside. */
  async open(app: App): Promise<string> {
    const path = join(this.#root, `${app.id}.git`)
    const identity = app.createdAt.toISOString()
    const found = await readFile(join(path, marker), 'utf8').catch(nullWhenMissing)
    if (found === identity) {
      await this.#restoreSettings(path)
      return path
    }
    if (found !== null) await rename(path, `${path}.removed-${Date.now()}`).catch(nullWhenMissing)
    await this.#make(path, identity)
    return path
  }

  /** For an app that was deleted before anything was kept in it. */
  async remove(app: App): Promise<void> {
    await rm(join(this.#root, `${app.id}.git`), { recursive: true, force: true })
  }

  /** An empty repository: what an app that does not exist yet looks like to a push. */
  async openEmpty(): Promise<string> {
    const path = join(this.#root, '.empty.git')
    if ((await readFile(join(path, marker), 'utf8').catch(nullWhenMissing)) === null) await this.#make(path, 'empty')
    return path
  }

  /**
   * Runs what receives a push. A git that is killed leaves what it had in quarantine; when no other push of the repository can own it, it is
   * removed.
   */
  async receiving<T>(repository: string, receive: () => Promise<T>): Promise<T> {
    this.#receiving.set(repository, (this.#receiving.get(repository) ?? 0) + 1)
    try {
      return await receive()
    } finally {
      const others = (this.#receiving.get(repository) ?? 1) - 1
      this.#receiving.set(repository, others)
      if (others === 0) {
        this.#receiving.delete(repository)
        await removeQuarantine(repository)
      }
    }
  }

  /** The branch that `git clone` checks out. */
  async pointHead(repository: string, branch: string): Promise<void> {
    const ref = `refs/heads/${branch}`
    if ((await readFile(join(repository, 'HEAD'), 'utf8')) === `ref: ${ref}\n`) return
    await this.#git.run(repository, ['symbolic-ref', 'HEAD', ref])
  }

  /**
   * Removes what a killed git leaves: quarantined objects, and lock files, which would block a ref for ever. For the start, when no git
   * of ours can be running.
   */
  async tidy(): Promise<string[]> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 })
    const names = await readdir(this.#root)
    const drafts = names.filter((name) => name.startsWith(draftPrefix)).map((name) => join(this.#root, name))
    await Promise.all(drafts.map((path) => rm(path, { recursive: true, force: true })))
    const repositories = names.filter((name) => name.endsWith('.git'))
    const removed = await Promise.all(repositories.map((name) => removeLeftovers(join(this.#root, name))))
    return [...drafts, ...removed.flat()]
  }

  // A repository's own config can name programs for git to run. No push can write it; should anything else have, it is put right.
  async #restoreSettings(path: string): Promise<void> {
    for (const [name, text] of Object.entries(settings)) {
      const file = join(path, name)
      if ((await readFile(file, 'utf8').catch(nullWhenMissing)) === text) continue
      const draft = await mkdtemp(join(this.#root, draftPrefix))
      await writeFile(join(draft, 'settings'), text)
      await rename(join(draft, 'settings'), file)
      await rm(draft, { recursive: true })
    }
  }

  async #make(path: string, identity: string): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 })
    const draft = await mkdtemp(join(this.#root, draftPrefix))
    await Promise.all(
      ['objects/info', 'objects/pack', 'refs/heads', 'refs/tags', 'info'].map((name) =>
        mkdir(join(draft, name), { recursive: true }),
      ),
    )
    await Promise.all([
      writeFile(join(draft, 'HEAD'), 'ref: refs/heads/main\n'),
      ...Object.entries(settings).map(([name, text]) => writeFile(join(draft, name), text)),
      writeFile(join(draft, marker), identity),
    ])
    try {
      await rename(draft, path)
    } catch (thrown) {
      await rm(draft, { recursive: true, force: true })
      // Another request made it at the same moment.
      if (codeOf(thrown) !== 'ENOTEMPTY' && codeOf(thrown) !== 'EEXIST') throw thrown
    }
  }
}

/**
 * Where a branch or tag is now, or null. A ref's own file has precedence in git too; asking git for it costs 3 ms, which is left for refs
 * that have none.
 */
export async function readRef(git: Git, repository: string, ref: string): Promise<string | null> {
  const own = await readFile(join(repository, ref), 'utf8').catch(nullWhenMissing)
  if (own && /^[0-9a-f]{40,64}\n$/.test(own)) return own.trim()
  return (await readRefs(git, repository)).get(ref) ?? null
}

/** All branches and tags: SHA by full name. */
export async function readRefs(git: Git, repository: string): Promise<Map<string, string>> {
  const { code, stdout, stderr } = await git.run(repository, ['for-each-ref', '--format=%(refname) %(objectname)'], {
    maxBytes: 64 * 1_048_576,
  })
  if (code !== 0) throw new AppError('INTERNAL', `git cannot read the refs of ${repository}: ${stderr.trim()}`)
  return new Map(
    stdout
      .split('\n')
      .filter(Boolean)
      .map((line): [string, string] => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]),
  )
}

/** True when nothing is lost by moving a branch from one commit to the other. */
export async function isAncestor(git: Git, repository: string, older: string, newer: string): Promise<boolean> {
  if (older === newer) return true
  return (await git.run(repository, ['merge-base', '--is-ancestor', older, newer])).code === 0
}

async function removeQuarantine(repository: string): Promise<void> {
  const objects = join(repository, 'objects')
  // Listed at once, before another push may begin; what is in the list then belongs to nobody.
  const left = readdirSync(objects).filter(isQuarantine)
  await Promise.all(left.map((name) => rm(join(objects, name), { recursive: true, force: true })))
}

function isQuarantine(name: string): boolean {
  return name.startsWith('tmp_objdir-')
}

async function removeLeftovers(repository: string): Promise<string[]> {
  const [top, objects, refs] = await Promise.all([
    readdir(repository),
    readdir(join(repository, 'objects')),
    readdir(join(repository, 'refs'), { recursive: true }),
  ])
  const leftovers = [
    ...top.filter((name) => name.endsWith('.lock')),
    ...objects.filter(isQuarantine).map((name) => join('objects', name)),
    ...refs.filter((name) => name.endsWith('.lock')).map((name) => join('refs', name)),
  ].map((name) => join(repository, name))
  await Promise.all(leftovers.map((path) => rm(path, { recursive: true, force: true })))
  return leftovers
}

function nullWhenMissing(thrown: unknown): null {
  // EISDIR and ENOTDIR: a ref `a` where there is a ref `a/b`, and the other way round.
  if (['ENOENT', 'EISDIR', 'ENOTDIR'].includes(codeOf(thrown) ?? '')) return null
  throw thrown
}
