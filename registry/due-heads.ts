import type { RepoHead } from './repo-heads.ts'
import type { Db } from './sql.ts'

// Heads (repo-heads.ts) that are to be deployed: who takes one has it for a while, and says what came of it.

const leaseMinutes = 10

/** Takes up to `most` heads that are to be deployed, for ten minutes: who dies over one leaves it to the next. */
export async function claimHeads(sql: Db, most: number): Promise<RepoHead[]> {
  return sql<RepoHead[]>`
    update repo_heads h
    set due_at = now() + make_interval(mins => ${leaseMinutes})
    from (
      select link_id, branch
      from repo_heads
      where due_at <= now()
        and is_open
      order by due_at
      limit ${most}
      for update skip locked
    ) due
    where h.link_id = due.link_id
      and h.branch = due.branch
    returning h.*
  `
}

/** Whether a head is to be deployed now: also one that somebody else writes to at this moment, which `claimHeads` passes over. */
export async function isAnyDue(sql: Db): Promise<boolean> {
  const due = await sql`
    select
    from repo_heads
    where due_at <= now()
      and is_open
    limit 1
  `
  return due.length > 0
}

/** The head was dealt with, unless there is a newer one by now: that one is still to be deployed. */
export async function settleHead(
  tx: Db,
  { linkId, branch, headSha }: Pick<RepoHead, 'linkId' | 'branch' | 'headSha'>,
  settled: { deploymentId: string | null } | { note: string; refused: boolean },
): Promise<void> {
  const deploymentId = 'deploymentId' in settled ? settled.deploymentId : null
  const refusal = 'note' in settled ? settled : null
  await tx`
    update repo_heads
    set due_at = case when head_sha = ${headSha} and is_open then null else due_at end,
        deployed_sha = case when ${deploymentId}::text is null then deployed_sha else ${headSha} end,
        deployment_id = coalesce(${deploymentId}, deployment_id),
        refused_sha = case when ${refusal?.refused ?? false} then ${headSha} else refused_sha end,
        note = ${refusal?.note ?? null},
        tell_after = now(),
        updated_at = clock_timestamp()
    where link_id = ${linkId}
      and branch = ${branch}
  `
}

/** It could not be deployed by our fault: tried again after a while that grows, up to an hour. */
export async function postponeHead(
  sql: Db,
  { linkId, branch }: Pick<RepoHead, 'linkId' | 'branch'>,
  note: string,
): Promise<void> {
  await sql`
    update repo_heads
    set failures = failures + 1,
        due_at = ${afterAWhile(sql)},
        note = ${note},
        tell_after = now()
    where link_id = ${linkId}
      and branch = ${branch}
      and is_open
  `
}

const mostFetches = 8

/** A head whose source could not be fetched is due again: the host may have been away, or its refs behind what it said. */
export async function retryFetches(sql: Db): Promise<void> {
  await sql`
    update repo_heads h
    set failures = h.failures + 1,
        due_at = ${afterAWhile(sql)}
    from deployments d
    where d.id = h.deployment_id
      and d.state = 'failed'
      and d.error_code = 'FETCH_FAILED'
      and h.deployed_sha = h.head_sha
      and h.is_open
      and h.due_at is null
      and h.failures < ${mostFetches}
  `
}

function afterAWhile(sql: Db) {
  return sql`now() + least(interval '1 hour', interval '5 seconds' * power(2, least(failures, 12)))`
}
