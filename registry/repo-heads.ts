import type { Db } from './sql.ts'

/**
 * A head that is followed at a linked repository: of a pull request (a preview, `branch` pr/<n>), or of the production branch. What the host says comes
 * in by `notePullRequest`, `closePullRequest` and `notePush`; it is deployed and told of as the row says, whenever and however often that is
 * tried.
 */
export type RepoHead = {
  linkId: string
  appId: string
  branch: string
  pullRequest: number | null
  isOpen: boolean
  isFork: boolean
  headSha: string
  /** When the host says it became so. */
  saidAt: Date | null
  approvedSha: string | null
  approvedBy: string | null
  deployedSha: string | null
  deploymentId: string | null
  /** Of this head there is to be no deployment; `note` says why. */
  refusedSha: string | null
  note: string | null
  dueAt: Date | null
  failures: number
  commentId: string | null
  toldState: string | null
  toldSha: string | null
  toldText: string | null
  tellFailures: number
  tellError: string | null
  createdAt: Date
}

export type PullRequestFacts = { number: number; headSha: string; isFork: boolean; saidAt: Date | null }

/**
 * The host says that a pull request is open, with this head. Said again it changes nothing, and what is older than what was said before neither. A
 * head that was refused (its preview was removed by hand, or for its age) stays so until there is another. False: nothing is changed.
 */
export async function notePullRequest(
  tx: Db,
  { linkId, appId }: { linkId: string; appId: string },
  { number, headSha, isFork, saidAt }: PullRequestFacts,
): Promise<boolean> {
  const changed = await tx`
    insert into repo_heads (link_id, app_id, branch, pull_request, is_open, is_fork, head_sha, said_at, due_at)
    values (${linkId}, ${appId}, ${branchOfPull(number)}, ${number}, true, ${isFork}, ${headSha}, ${saidAt}, now())
    on conflict (link_id, branch) do update
    set is_open = true,
        is_fork = excluded.is_fork,
        head_sha = excluded.head_sha,
        said_at = coalesce(excluded.said_at, repo_heads.said_at),
        deployed_sha = case when repo_heads.is_open then repo_heads.deployed_sha end,
        refused_sha = case when repo_heads.is_open then repo_heads.refused_sha end,
        note = case when repo_heads.is_open and repo_heads.head_sha = excluded.head_sha then repo_heads.note end,
        due_at = now(),
        failures = 0,
        tell_after = now(),
        updated_at = clock_timestamp()
    where (not repo_heads.is_open or repo_heads.head_sha <> excluded.head_sha)
      and (excluded.said_at is null or repo_heads.said_at is null or excluded.said_at >= repo_heads.said_at)
    returning branch
  `
  return changed.length > 0
}

/** The host says that a pull request is closed. The preview goes with the next look (`findLeftPreviews`). False: it was none that is followed, or closed before. */
export async function closePullRequest(
  tx: Db,
  linkId: string,
  { number, saidAt }: { number: number; saidAt: Date | null },
): Promise<boolean> {
  const closed = await tx`
    update repo_heads
    set is_open = false,
        said_at = coalesce(${saidAt}, said_at),
        due_at = null,
        approved_sha = null,
        approved_by = null,
        note = null,
        tell_after = now(),
        updated_at = clock_timestamp()
    where link_id = ${linkId}
      and pull_request = ${number}
      and is_open
      and (${saidAt}::timestamptz is null or said_at is null or ${saidAt}::timestamptz >= said_at)
    returning branch
  `
  return closed.length > 0
}

/**
 * The host says that of its pull requests only these are open. Those of which it was said after `before` are left: the list may be older. Returns the
 * branches of the others.
 */
export async function closeOthers(
  tx: Db,
  linkId: string,
  { open, before }: { open: number[]; before: Date },
): Promise<string[]> {
  const closed = await tx<{ branch: string }[]>`
    update repo_heads
    set is_open = false,
        due_at = null,
        approved_sha = null,
        approved_by = null,
        note = null,
        tell_after = now(),
        updated_at = clock_timestamp()
    where link_id = ${linkId}
      and pull_request is not null
      and is_open
      and pull_request::text <> all(${open.map(String)})
      and updated_at < ${before}
    returning branch
  `
  return closed.map(({ branch }) => branch)
}

/** The host says that the production branch has a new head. */
export async function notePush(
  tx: Db,
  { linkId, appId, branch, sha }: { linkId: string; appId: string; branch: string; sha: string },
): Promise<void> {
  await tx`
    insert into repo_heads (link_id, app_id, branch, is_open, head_sha, due_at)
    values (${linkId}, ${appId}, ${branch}, true, ${sha}, now())
    on conflict (link_id, branch) do update
    set head_sha = excluded.head_sha,
        note = null,
        due_at = now(),
        failures = 0,
        tell_after = now(),
        updated_at = clock_timestamp()
  `
}

/** Trusts one commit of a pull request, and no other: it is fetched and built without what the app keeps secret. Null: there is no such pull request open. */
export async function approveHead(
  tx: Db,
  { appId, number, sha, by }: { appId: string; number: number; sha: string; by: string },
): Promise<RepoHead | null> {
  const [head] = await tx<RepoHead[]>`
    update repo_heads
    set approved_sha = ${sha},
        approved_by = ${by},
        note = null,
        refused_sha = null,
        due_at = now(),
        failures = 0,
        tell_after = now(),
        updated_at = clock_timestamp()
    where app_id = ${appId}
      and pull_request = ${number}
      and is_open
    returning *
  `
  return head ?? null
}

export async function findHead(
  sql: Db,
  { appId, branch }: { appId: string; branch: string },
): Promise<RepoHead | null> {
  const [head] = await sql<RepoHead[]>`select * from repo_heads where app_id = ${appId} and branch = ${branch}`
  return head ?? null
}

export async function listHeads(sql: Db, appId: string): Promise<RepoHead[]> {
  return sql<RepoHead[]>`select * from repo_heads where app_id = ${appId} order by pull_request nulls first`
}

/** Pull requests of an app's repository that are open, by number, those after that one. */
export async function listOpenPulls(
  sql: Db,
  appId: string,
  { after, limit }: { after: number; limit: number },
): Promise<(RepoHead & { pullRequest: number })[]> {
  return sql<(RepoHead & { pullRequest: number })[]>`
    select *
    from repo_heads
    where app_id = ${appId}
      and is_open
      and pull_request > ${after}
    order by pull_request
    limit ${limit}
  `
}

/** Its preview was removed, for this reason: there is none until the pull request has another head. */
export async function refuseHead(
  tx: Db,
  { appId, branch, note }: { appId: string; branch: string; note: string },
): Promise<void> {
  await tx`
    update repo_heads
    set refused_sha = head_sha,
        note = ${note},
        due_at = null,
        tell_after = now(),
        updated_at = clock_timestamp()
    where app_id = ${appId}
      and branch = ${branch}
      and pull_request is not null
  `
}

/** Heads without a preview or an open pull request any more, whose host has been told so: nothing is left to do about them. */
export async function forgetClosedHeads(sql: Db): Promise<void> {
  await sql`
    delete from repo_heads
    where not is_open
      and (told_state = 'removed' or told_state is null or updated_at < now() - interval '1 day')
      and not exists (
        select from routes r
        where r.app_id = repo_heads.app_id
          and r.branch = repo_heads.branch
          and r.environment = 'preview'
      )
  `
}

export function branchOfPull(number: number): string {
  return `pr/${number}`
}

type Repository = { id: number; full_name: string }

/**
 * Whether a head may be a stranger's: it comes from another repository than the one it is to be merged into, or it is not known where from, or it is no
 * branch there. Whoever may read a repository at Gitea or Forgejo can push a pull request without one (AGit, `refs/for/…`), of which these say that it comes
 * from the repository itself, and `refs/pull/…` for its branch.
 */
export function isForkOf(
  base: Repository,
  { repo, ref }: { repo?: Repository | null | undefined; ref?: string | null | undefined },
): boolean {
  if (!repo || repo.id !== base.id || repo.full_name.toLowerCase() !== base.full_name.toLowerCase()) return true
  return !ref || ref.startsWith('refs/')
}
