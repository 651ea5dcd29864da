import { refuseIllegalBranch } from './branch-names.ts'
import type { Claim } from './claims.ts'
import { parseOutboundUrl } from './egress/outbound-http.ts'
import { AppError } from './errors.ts'
import { digestInputs, findReusableBuild } from './reusable-builds.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Sql } from './sql.ts'

/**
 * A commit at a git host, for a worker to fetch. `ref`: a branch, a tag, a whole ref (`refs/pull/42/head`), or a commit. `sha`: what
 * it must be, where that is known (from a webhook); null: whatever is there when it is fetched.
 */
export type GitOrigin = { url: string; ref: string; sha: string | null }

/**
 * The same in a deployment's row. `token`: sealed, and forgotten when the source has come or never will. `isNamed`: somebody chose the version's name, so that it
 * is not called by its SHA.
 */
export type KeptOrigin = GitOrigin & { token?: string; isNamed?: true }

const shaPattern = /^([0-9a-f]{40}|[0-9a-f]{64})$/
const wholeRef = /^refs\/(?:heads|tags|pull|merge-requests|changes)\/(.+)$/

/**
 * An origin made of what people or webhooks say: an `http://` or `https://` address without a user name, and names that git could not take
 * for anything else. Throws REQUEST_INVALID, BRANCH_ILLEGAL.
 */
export function parseGitOrigin({
  url,
  ref,
  sha,
}: {
  url: string
  ref?: string | null
  sha?: string | null
}): GitOrigin {
  const parsed = parseOutboundUrl(url)
  if (parsed.search || parsed.hash || /[^\x21-\x7e]/.test(url) || url.length > 2000)
    throw new AppError('REQUEST_INVALID', 'the address of a git repository holds no ?, no # and no spaces')
  if (sha != null && !shaPattern.test(sha)) throw new AppError('REQUEST_INVALID', 'a commit is named by its whole SHA')
  const wanted = ref ?? sha ?? 'HEAD'
  if (!shaPattern.test(wanted)) refuseIllegalBranch(wholeRef.exec(wanted)?.[1] ?? wanted.replace(/^refs\//, '-'))
  return { url: parsed.href, ref: wanted, sha: sha ?? (shaPattern.test(wanted) ? wanted : null) }
}

/** With the token of a private repository, sealed for the app. */
export function keepOrigin(
  origin: GitOrigin,
  { app, token, key, isNamed }: { app: string; token?: string | null; key: Key; isNamed?: boolean },
): KeptOrigin {
  return {
    ...origin,
    ...(token && { token: seal(key, contextOf(app), token).toString('base64') }),
    ...(isNamed && { isNamed }),
  }
}

export function openToken({ token }: KeptOrigin, { app, key }: { app: string; key: Key }): string | null {
  return token ? open(key, contextOf(app), Buffer.from(token, 'base64')) : null
}

/** What was fetched. `tree`: git's name for the files. */
export type Fetched = { sha: string; tree: string; subject: string; sourceKey: string }

/**
 * Ties a fetched source to its deployment, and a build that was made of the same files before; a version that nobody has named is called by its SHA
 * from now on. Null: the attempt is not this worker's any more.
 */
export async function recordFetched(
  sql: Sql,
  claim: Claim,
  { sha, tree, subject, sourceKey }: Fetched,
): Promise<Claim | null> {
  return sql.begin(async (tx) => {
    const version = claim.gitOrigin?.isNamed ? claim.version : sha
    const inputs = { version, sourceTree: tree, target: claim, env: claim.envSnapshot, fork: claim.options.fork }
    const digests = digestInputs(inputs, { reads: 'build' })
    const reusable = claim.options.forceBuild
      ? null
      : await findReusableBuild(tx, { app: claim.appId, version }, [digests, digestInputs(inputs, { reads: 'run' })])
    const [recorded] = await tx<Claim[]>`
      update deployments
      set version = ${version},
          git_sha = ${sha},
          subject = ${subject},
          source_key = ${sourceKey},
          source_tree = ${tree},
          input_sha256 = ${digests.inputSha256},
          tree_sha256 = ${digests.treeSha256},
          build_id = ${reusable?.id ?? null}
      where id = ${claim.id}
        and attempt = ${claim.attempt}
        and state = 'building'
      returning *
    `
    return recorded ?? null
  })
}

function contextOf(app: string): string {
  return `git of ${app}`
}
