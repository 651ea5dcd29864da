import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { findLink, openHostToken } from '../repo-links.ts'
import type { Key } from '../secrets.ts'
import type { Db, Sql } from '../sql.ts'
import { type Caller, HostApi, HostFailure, wordsFor } from './host-api.ts'
import { type HeadToTell, judge, markOf, type Verdict } from './verdict.ts'

export type TellDeps = { sql: Sql; config: Config; key: Key; log: Log; caller: Caller }

const atOnce = 8
const leaseMinutes = 5

type Untold = HeadToTell & { newText: string }

/**
 * Tells hosts what became of the heads of their repositories: a status of the commit, and one comment at a pull request, which is changed and never
 * repeated. What was told already is told to nobody again; what a host does not take is tried again after a while that grows. Deployments wait for none
 * of it. Returns how many were told, or tried to be.
 */
export async function tellHosts(deps: TellDeps): Promise<number> {
  const untold = await claimUntold(deps.sql, atOnce)
  await Promise.all(untold.map((head) => tell(head, deps)))
  return untold.length
}

async function tell(head: Untold, deps: TellDeps): Promise<void> {
  const { sql, config, log } = deps
  try {
    const verdict = judge(head, config)
    const commentId = await say(head, verdict, deps)
    await noteTold(sql, head, { verdict, commentId })
  } catch (thrown) {
    const retryAfterSec = thrown instanceof HostFailure ? thrown.retryAfterSec : null
    log.warn({ err: thrown, app: head.appId, branch: head.branch }, 'host not told, tried again later')
    await notePostponed(sql, head, { reason: wordsFor(thrown), retryAfterSec })
  }
}

// Of a head that is gone before its host heard of it there is nothing to say.
async function say(head: Untold, verdict: Verdict, { sql, key, caller }: TellDeps): Promise<string | null> {
  const link = await findLink(sql, head.linkId)
  const token = link && openHostToken(link, key)
  if (!link || token === null) return head.commentId
  const api = new HostApi(link, token, caller)
  const context = `atelier/${head.appId}`
  if (head.toldState === 'pending' && head.toldSha !== null && head.toldSha !== verdict.sha) {
    const text = 'there is a newer commit'
    await api.setStatus(head.toldSha, { context, state: 'error', text, url: null })
  }
  if (verdict.status) await api.setStatus(verdict.sha, { context, ...verdict.status })
  if (head.pullRequest === null || verdict.comment === null) return null
  if (verdict.told === 'removed' && head.commentId === null) return null
  return api.putComment(head.pullRequest, { id: head.commentId, mark: markOf(head), text: verdict.comment })
}

// Everything that what we say depends on, in one text. A row with another one than was told is due.
function textOf(sql: Db) {
  return sql`concat_ws(
    ' ', h.is_open, h.head_sha, h.is_fork, l.forks, h.approved_sha, h.refused_sha, d.id,
    case when d.state in ('building', 'built', 'uploading') then 'building' else d.state end, h.note
  )`
}

async function claimUntold(sql: Sql, most: number): Promise<Untold[]> {
  return sql<Untold[]>`
    with due as (
      select h.link_id, h.branch, l.forks, d.state, d.state_reason, d.version, d.label, ${textOf(sql)} as new_text
      from repo_heads h
      join repo_links l on l.id = h.link_id
      left join deployments d on d.id = h.deployment_id
      where h.tell_after <= now()
        and l.token is not null
        and h.told_text is distinct from ${textOf(sql)}
        -- Of forks nobody asked about the host is told nothing.
        and not (h.is_fork and l.forks = 'off' and h.told_text is null)
      order by h.tell_after
      limit ${most}
      for update of h skip locked
    )
    update repo_heads h
    set tell_after = now() + make_interval(mins => ${leaseMinutes})
    from due
    where h.link_id = due.link_id
      and h.branch = due.branch
    returning h.*, due.forks, due.state, due.state_reason, due.version, due.label, due.new_text
  `
}

async function noteTold(
  sql: Sql,
  { linkId, branch, newText }: Untold,
  { verdict, commentId }: { verdict: Verdict; commentId: string | null },
): Promise<void> {
  await sql`
    update repo_heads
    set told_text = ${newText},
        told_state = ${verdict.told},
        told_sha = ${verdict.sha},
        comment_id = ${commentId},
        tell_failures = 0,
        tell_error = null,
        tell_after = now()
    where link_id = ${linkId}
      and branch = ${branch}
  `
}

async function notePostponed(
  sql: Sql,
  { linkId, branch }: Untold,
  { reason, retryAfterSec }: { reason: string; retryAfterSec: number | null },
): Promise<void> {
  await sql`
    update repo_heads
    set tell_failures = tell_failures + 1,
        tell_error = ${reason},
        tell_after = now() + coalesce(
          make_interval(secs => ${retryAfterSec}),
          least(interval '1 hour', interval '5 seconds' * power(2, least(tell_failures, 12)))
        )
    where link_id = ${linkId}
      and branch = ${branch}
  `
}
