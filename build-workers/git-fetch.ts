import { createReadStream } from 'node:fs'
import { chmod, constants, mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { createZstdCompress, constants as zlib } from 'node:zlib'
import type { StepLog } from '../registry/build-logs.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import type { Claim } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { AppError } from '../registry/errors.ts'
import { type Fetched, type GitOrigin, openToken, recordFetched } from '../registry/git-origins.ts'
import { holdSource } from '../registry/holds.ts'
import type { Mask } from '../registry/mask.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import { shortVersion } from '../registry/version.ts'
import { hostTool } from '../sandbox/host-tools.ts'
import { prepareRuntime } from '../sandbox/runtime.ts'
import { leaseUser } from '../sandbox/users.ts'
import { Fenced } from './attempt.ts'
import { fetchEnvironment } from './git-fetch-env.ts'
import type { GitNetwork, GitNetworks } from './git-network.ts'
import { Programs } from './programs.ts'
import { makeFor, Workspace } from './workspace.ts'

export type FetchDeps = {
  sql: Sql
  store: BundleStore
  config: Config
  key: Key
  gitNetworks: GitNetworks
  log: StepLog
  mask: Mask
  signal: AbortSignal
}

const head = 'refs/atelier/head'
const maxSubject = 200
const aroundFetchMs = 60_000

/**
 * The source of a deployment that was made with an origin (`createDeployment({ …, source: 'git', gitOrigin: keepOrigin(parseGitOrigin(…), …) })`) and has
 * no source yet: fetched from its git host, put into the store as `sources/<app>/<sha>.tar.zst`, and recorded. git runs behind the walls of builds with no
 * settings, hooks, submodules or credentials but those given, over http and https, through a proxy that judges every address it connects to.
 * Returns the claim as it is now; one with a source already is returned as it is. Throws FETCH_FAILED with what people can do, and Fenced.
 */
export async function fetchSource(claim: Claim, deps: FetchDeps): Promise<Claim> {
  const { config, log, mask } = deps
  if (!claim.gitOrigin || claim.sourceKey || claim.buildId) return claim
  const origin = claim.gitOrigin
  const token = openToken(origin, { app: claim.appId, key: deps.key })
  if (token) mask.hide({ 'token of the git host': token })
  const user = await leaseUser(config, { purpose: 'build', app: claim.appId })
  // It opens the way to the home for the users of builds.
  await prepareRuntime(config.home)
  const builds = join(config.home, 'builds')
  await mkdir(builds, { recursive: true })
  await chmod(builds, 0o711)
  await using workspace = await Workspace.create(join(builds, `${claim.id}-git`), user)
  await makeFor(user, workspace.app)

  const refusals: string[] = []
  const network = await deps.gitNetworks.lease((sentence) => refusals.push(sentence))
  try {
    return await log.step('Fetching', `${origin.url} ${shortVersion(origin.ref)}`, async (step) => {
      const git = new FetchingGit({ workspace, network, refusals, origin, token, deps })
      const commit = await git.fetch()
      const stored = sourceKey(claim.appId, commit.sha)
      await keep(await git.archive(commit.sha), stored, deps)
      const recorded = await recordFetched(deps.sql, claim, { ...commit, sourceKey: stored })
      if (!recorded) throw new Fenced('the attempt was given to another worker')
      step.detail(`${origin.url} ${shortVersion(origin.ref)} → ${shortVersion(commit.sha)}`)
      return recorded
    })
  } finally {
    await network.release()
  }
}

// A commit's files never change, so a source that is there already is left.
async function keep(archive: string, key: string, { sql, store }: FetchDeps): Promise<void> {
  await holdSource(sql, key)
  if ((await store.has([key])).has(key)) return
  // The folder is another user's: what lies there under the name is only taken as a plain file.
  await using file = await open(archive, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  if (!(await file.stat()).isFile()) throw new AppError('FETCH_FAILED', 'git left no archive of the commit')
  // With a checksum: a source has no digest anywhere else, and must not be built from bytes that were damaged on the way.
  const params = { [zlib.ZSTD_c_compressionLevel]: 1, [zlib.ZSTD_c_checksumFlag]: 1 }
  const read = createReadStream('', { fd: file, autoClose: false })
  await store.put(
    key,
    pipeline(read, createZstdCompress({ params }), () => undefined),
  )
}

type Parts = {
  workspace: Workspace
  network: GitNetwork
  refusals: string[]
  origin: GitOrigin
  token: string | null
  deps: FetchDeps
}

/** git in a repository of its own, which goes when the workspace does. */
class FetchingGit {
  readonly #parts: Parts
  readonly #programs: Programs
  readonly #repository: string
  readonly #template: string
  readonly #env: Record<string, string>

  constructor(parts: Parts) {
    const { workspace, network, origin, token, deps } = parts
    const { config, mask, signal } = deps
    const { packMb, checkoutMb } = config.pushLimits
    this.#parts = parts
    this.#repository = join(workspace.app, 'fetched.git')
    this.#template = workspace.beside('template')
    this.#env = fetchEnvironment({ home: workspace.home, proxy: network.proxy, origin, token })
    this.#programs = new Programs({
      workspace,
      limits: {
        ...config.buildLimits,
        // Of the steps together; fetching has its own below.
        timeoutMs: config.fetchTimeoutMs + aroundFetchMs,
        diskMb: Math.min(config.buildLimits.diskMb, packMb + checkoutMb),
        outputBytes: 1_048_576,
      },
      readable: [this.#template],
      writable: [],
      network,
      onLine: () => undefined,
      mask,
      signal,
    })
  }

  /** The commit, alone and without its history. */
  async fetch(): Promise<Omit<Fetched, 'sourceKey'>> {
    const { url, ref, sha } = this.#parts.origin
    // `git archive` must give the tree as it is: by default a file named in its own .gitattributes is left out or rewritten.
    await mkdir(join(this.#template, 'info'), { recursive: true })
    await writeFile(join(this.#template, 'info/attributes'), '* -export-ignore -export-subst\n')
    await this.#run(['init', '--quiet', '--bare', `--template=${this.#template}`, this.#repository])
    await this.#fetchRef(url, ref)
    let found = await this.#commitOf(head)
    // The branch has moved on since somebody named the commit; most hosts hand that out all the same.
    if (sha && found.sha !== sha) {
      await this.#fetchRef(url, sha)
      found = await this.#commitOf(head)
    }
    if (!sha || found.sha === sha) return found
    throw new AppError(
      'FETCH_FAILED',
      `${ref} of ${url} is ${shortVersion(found.sha)} by now, and not ${shortVersion(sha)}`,
    )
  }

  /** Writes the files of a commit as they are, whatever the commit's own attributes say, into a tar; its path. */
  async archive(sha: string): Promise<string> {
    const path = join(this.#parts.workspace.app, 'source.tar')
    await this.#inRepository(['archive', '--format=tar', `--output=${path}`, sha])
    return path
  }

  async #fetchRef(url: string, ref: string): Promise<void> {
    const flags = ['--quiet', '--depth=1', '--no-tags', '--no-recurse-submodules', '--no-auto-maintenance', '--force']
    await this.#inRepository(['fetch', ...flags, '--end-of-options', url, `${ref}:${head}`])
  }

  async #commitOf(ref: string): Promise<Omit<Fetched, 'sourceKey'>> {
    const args = ['log', '--no-walk', `--format=%H %T %<(${maxSubject},trunc)%s`, ref, '--']
    const [line = ''] = await this.#inRepository(args)
    const [, sha, tree, subject] = /^([0-9a-f]{40,64}) ([0-9a-f]{40,64}) (.*)$/.exec(line) ?? []
    if (sha && tree) return { sha, tree, subject: (subject ?? '').trim() }
    throw new AppError('FETCH_FAILED', `${this.#parts.origin.ref} is no commit`)
  }

  #inRepository(args: string[]): Promise<string[]> {
    return this.#run(['--git-dir', this.#repository, ...args])
  }

  // What git says may hold what the host said, and that is nobody's business but for git's own last word.
  async #run(args: string[]): Promise<string[]> {
    const said: string[] = []
    const name = `git ${args.find((arg) => /^(init|fetch|log|archive)$/.test(arg)) ?? ''}`
    try {
      await this.#programs.run({
        name,
        file: hostTool('git') ?? 'git',
        args,
        env: this.#env,
        code: 'FETCH_FAILED',
        timeout: { ms: this.#parts.deps.config.fetchTimeoutMs, setting: 'ATELIER_FETCH_TIMEOUT_SEC on the server' },
        onLine: (line) => said.push(line),
      })
      return said
    } catch (thrown) {
      throw this.#explain(thrown, said)
    }
  }

  #explain(thrown: unknown, said: string[]): unknown {
    if (!(thrown instanceof AppError) || (thrown.code !== 'FETCH_FAILED' && thrown.code !== 'BUILD_LIMIT'))
      return thrown
    const { refusals, origin } = this.#parts
    const { host } = new URL(origin.url)
    const fatal = said.findLast((line) => line.startsWith('fatal: '))?.slice('fatal: '.length)
    const isGitsOwn = /exited with \d+$/.test(thrown.message)
    const why =
      refusals[0] ?? (isGitsOwn && fatal ? inWords(fatal, origin) : thrown.message.replace('build stopped: ', ''))
    return new AppError('FETCH_FAILED', `${shortVersion(origin.ref)} could not be fetched from ${host}: ${why}`, {
      cause: thrown,
    })
  }
}

function inWords(fatal: string, { ref }: GitOrigin): string {
  if (/couldn't find remote ref/.test(fatal)) return `it has no branch, tag or commit ${ref}`
  if (/could not read (Username|Password)|Authentication failed|error: 401|error: 403/.test(fatal))
    return 'it wants a token, or another one'
  if (/not found|error: 404/i.test(fatal)) return 'it has no such repository, or shows it to nobody without a token'
  return fatal.slice(0, 300)
}
