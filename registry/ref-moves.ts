import { type Commit, type Deployment, runningStates } from './deployments.ts'
import type { Db, Sql } from './sql.ts'

// A pushed ref is moved by the gateway, which owns the repository, after the edges are prepared and before the flip.

/** The pushes that are prepared and not live yet: their ref is still to be moved, or has been and the flip is missing. */
export async function listPreparedPushes(sql: Db): Promise<Deployment[]> {
  return sql<Deployment[]>`
    select *
    from deployments
    where state = 'uploading'
      and prepared_at is not null
      and source = 'git'
      and ref is not null
    order by prepared_at
  `
}

/**
 * Runs `moveRef` under the lock of the deployment's row, so that nobody cancels it meanwhile, and records that the ref has moved; what it
 * throws undoes the record. It is called again after a crash between the two. False: the deployment is not on its way any more.
 */
export async function recordRefMove(
  sql: Sql,
  deploymentId: string,
  moveRef: (deployment: Deployment) => Promise<void>,
): Promise<boolean> {
  return sql.begin(async (tx) => {
    const [deployment] = await tx<Deployment[]>`
      select *
      from deployments
      where id = ${deploymentId}
        and state = 'uploading'
        and prepared_at is not null
      for update
    `
    if (!deployment) return false
    if (deployment.refMovedAt) return true
    await moveRef(deployment)
    await tx`
      update deployments
      set ref_moved_at = clock_timestamp()
      where id = ${deploymentId}
    `
    return true
  })
}

/** The deployment of a ref that is being built or brought out, of which there is one at most. */
export async function findRunningPush(sql: Db, { app, ref }: { app: string; ref: string }): Promise<Deployment | null> {
  const [running] = await sql<Deployment[]>`
    select *
    from deployments
    where app_id = ${app}
      and ref = ${ref}
      and state = any(${runningStates})
    order by number desc
    limit 1
  `
  return running ?? null
}

/** The commits that a push brings to what was live, the newest first. */
export async function recordCommits(sql: Db, deploymentId: string, commits: Commit[]): Promise<void> {
  await sql`
    update deployments
    set commits = ${sql.json(commits)}
    where id = ${deploymentId}
  `
}
