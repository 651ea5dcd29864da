import { findApp } from '../apps.ts'
import type { Log } from '../log.ts'
import { closeOthers, listHeads, notePullRequest, notePush } from '../repo-heads.ts'
import { openHostToken, type RepoLink } from '../repo-links.ts'
import type { Key } from '../secrets.ts'
import type { Sql } from '../sql.ts'
import { type Caller, HostApi, HostFailure, wordsFor } from './host-api.ts'

export type PollDeps = { sql: Sql; key: Key; log: Log; caller: Caller; pollMs: number }

const atOnce = 4

/**
 * Asks the hosts of linked repositories what is open there, each every few minutes: what a webhook should have told and did not. Not more than a few at a
 * time; a host that does not answer is asked less and less often, and as long as it does not nothing is taken away.
 */
export async function pollHosts(deps: PollDeps): Promise<void> {
  const links = await claimPolls(deps)
  await Promise.all(links.map((link) => poll(link, deps)))
}

async function poll(link: RepoLink, deps: PollDeps): Promise<void> {
  const { sql, key, log, caller } = deps
  try {
    const [{ at } = { at: new Date() }] = await sql<{ at: Date }[]>`select clock_timestamp() as at`
    const api = new HostApi(link, openHostToken(link, key), caller)
    const pulls = await api.openPulls()
    const pushed = await newProductionHead(link, api, sql)
    await sql.begin(async (tx) => {
      const of = { linkId: link.id, appId: link.appId }
      for (const pull of pulls) await notePullRequest(tx, of, pull)
      const closed = await closeOthers(tx, link.id, { open: pulls.map(({ number }) => number), before: at })
      if (closed.length > 0) log.info({ app: link.appId, branches: closed }, 'pull requests closed without a word')
      if (pushed) await notePush(tx, { ...of, ...pushed })
      await tx`
        update repo_links
        set polled_at = now(), poll_failures = 0, poll_error = null
        where id = ${link.id}
      `
    })
  } catch (thrown) {
    const retryAfterSec = thrown instanceof HostFailure ? thrown.retryAfterSec : null
    log.warn({ err: thrown, app: link.appId, host: link.apiUrl }, 'host of a repository not asked')
    await sql`
      update repo_links
      set poll_failures = poll_failures + 1,
          poll_error = ${wordsFor(thrown)},
          poll_after = greatest(poll_after, now() + coalesce(
            make_interval(secs => ${retryAfterSec}),
            least(interval '1 hour', interval '1 minute' * power(2, least(poll_failures, 8)))
          ))
      where id = ${link.id}
    `
  }
}

// Only of a branch that was deployed from there before: linking alone deploys nothing.
async function newProductionHead(
  { appId }: RepoLink,
  api: HostApi,
  sql: Sql,
): Promise<{ branch: string; sha: string } | null> {
  const followed = (await listHeads(sql, appId)).find(({ pullRequest }) => pullRequest === null)
  const app = followed && (await findApp(sql, appId))
  if (!app || !followed) return null
  const sha = await api.headOf(followed.branch)
  return sha && sha !== followed.headSha ? { branch: followed.branch, sha } : null
}

async function claimPolls({ sql, pollMs }: PollDeps): Promise<RepoLink[]> {
  return sql<RepoLink[]>`
    update repo_links l
    set poll_after = now() + make_interval(secs => ${pollMs / 1000}) * (0.9 + random() * 0.2)
    from (
      select id
      from repo_links
      where poll_after <= now()
      order by poll_after
      limit ${atOnce}
      for update skip locked
    ) due
    where l.id = due.id
    returning l.*
  `
}
