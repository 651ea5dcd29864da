import type { Readable } from 'node:stream'
import type { Config } from '../registry/config.ts'
import { endGroup, exitOf, type Git } from './git.ts'
import { plainLine } from './plain-line.ts'
import type { Question } from './pre-receive.ts'
import { branchOf, isZero } from './ref-update.ts'
import { refuseSubmodules } from './submodules.ts'

/** `tree`: git's name for its files. */
export type Commit = { subject: string; tree: string }
type Limits = Config['pushLimits']

const maxSubject = 200
const maxPathBytes = 4096

/** Where git finds the objects of a push that it has not taken yet. */
export function quarantine(repository: string, objects: string | null): Record<string, string> {
  if (!objects) return {}
  return { GIT_OBJECT_DIRECTORY: objects, GIT_ALTERNATE_OBJECT_DIRECTORIES: `${repository}/objects` }
}

/**
 * Looks at what the branches of a push would check out, while it is still in quarantine: it must be commits, and no larger than the
 * limits. Returns the commits by SHA, or the reason to refuse.
 */
export async function inspectCheckouts(
  { updates, objects }: Question,
  { git, repository, limits }: { git: Git; repository: string; limits: Limits },
): Promise<{ commits: Map<string, Commit> } | { refused: string }> {
  const branches = updates.filter((update) => branchOf(update.ref) !== null && !isZero(update.new))
  const tips = [...new Set(branches.map((update) => update.new))]
  const env = quarantine(repository, objects)
  const found = await Promise.all(
    tips.map(async (sha) => {
      const [commit, refused] = await Promise.all([
        readCommit(sha, { git, repository, env }),
        measure(sha, { git, repository, env, limits }),
      ])
      return { sha, commit, refused }
    }),
  )
  const commits = new Map<string, Commit>()
  for (const { sha, commit, refused } of found) {
    if (commit === null) return { refused: `a branch holds commits, and ${sha.slice(0, 7)} is none` }
    if (refused) return { refused }
    commits.set(sha, commit)
  }
  return { commits }
}

export type Reading = { git: Git; repository: string; env: Record<string, string> }

/** What a commit holds, and the first line of its message, cut; null when the object is no commit. */
async function readCommit(sha: string, { git, repository, env }: Reading): Promise<Commit | null> {
  const args = ['log', '--no-walk', `--format=%H %T %<(${maxSubject},trunc)%s`, sha, '--']
  const { code, stdout } = await git.run(repository, args, { env })
  // An annotated tag names a commit and is none.
  if (code !== 0 || !stdout.startsWith(`${sha} `)) return null
  const [tree = ''] = stdout.slice(sha.length + 1).split(' ', 1)
  return { tree, subject: plainLine(stdout.slice(sha.length + tree.length + 2), maxSubject) }
}

/** Looks at the files of a commit: how many, how large, and what its `.gitmodules` would have others fetch. */
async function measure(sha: string, reading: Reading & { limits: Limits }): Promise<string | null> {
  const { git, repository, env, limits } = reading
  const child = git.start(['--git-dir', repository, 'ls-tree', '-r', '-t', '-l', '-z', '--full-tree', sha], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const listing = new Listing(limits)
  const refused = child.stdout ? await listing.read(child.stdout) : null
  if (refused) {
    await endGroup(child)
    return refused
  }
  if ((await exitOf(child)) !== 0) return `git cannot read the files of ${sha.slice(0, 7)}`
  return listing.hasSubmodules ? refuseSubmodules(sha, reading) : null
}

/**
 * Counts files, folders and bytes and stops at the first that is too many, so that a tree that unfolds without end, be it of empty folders,
 * costs no more than the limit.
 */
class Listing {
  hasSubmodules = false
  readonly #limits: Limits
  #files = 0
  #folders = 0
  #bytes = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** Takes what `ls-tree -r -t -l -z` says; resolves to the reason to refuse it. */
  async read(output: Readable): Promise<string | null> {
    let rest = ''
    for await (const chunk of output) {
      const entries = (rest + chunk.toString('latin1')).split('\0')
      rest = entries.pop() ?? ''
      if (rest.length > maxPathBytes || entries.some((entry) => entry.length > maxPathBytes)) {
        return `a path is longer than ${maxPathBytes} bytes`
      }
      for (const entry of entries) this.#count(entry)
      const refused = this.#refuse()
      if (refused) return refused
    }
    return null
  }

  // `<mode> <type> <sha> <size>\t<path>`; the size of a folder and of a submodule is `-`.
  #count(entry: string): void {
    if (entry.startsWith('040000 ')) {
      this.#folders++
      return
    }
    this.#files++
    this.#bytes += Number(/^\d+ blob [0-9a-f]+ +(\d+)\t/.exec(entry)?.[1] ?? 0)
    if (entry.endsWith('\t.gitmodules')) this.hasSubmodules = true
  }

  #refuse(): string | null {
    const { files, checkoutMb } = this.#limits
    if (Math.max(this.#files, this.#folders) > files) {
      const what = this.#files > files ? 'files' : 'folders'
      return `more than ${files} ${what}, this server's limit (ATELIER_CHECKOUT_MAX_FILES)`
    }
    if (this.#bytes > checkoutMb * 1_048_576) {
      return `the files are more than ${checkoutMb} MB, this server's limit (ATELIER_CHECKOUT_MAX_MB)`
    }
    return null
  }
}
