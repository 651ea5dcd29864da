import type { Deployment } from './deployments.ts'
import { differingNames, type EnvScope, snapshotEnv } from './env-vars.ts'
import type { Key } from './secrets.ts'
import type { Db } from './sql.ts'

/** What is live with other variables than it would be given now. */
export type StaleEnv = { deployment: Deployment; names: string[] }

/**
 * What is live in an environment, or of one branch, and would have other variables if it was deployed again. Values are compared, so one that was set to
 * the same, or back, is not among them. What is built of a fork gets none.
 */
export async function findStaleEnv(
  sql: Db,
  { app, environment, branch = null }: EnvScope & { branch?: string | null | undefined },
  key: Key,
): Promise<StaleEnv[]> {
  const live = await sql<Deployment[]>`
    select d.*
    from routes r
    join deployments d on d.id = r.live_deployment
    where r.app_id = ${app}
      and r.environment = ${environment}
      and (${environment === 'preview' ? branch : null}::text is null or r.branch = ${branch})
      and not d.options ? 'fork'
    order by r.branch
  `
  const found: StaleEnv[] = []
  for (const deployment of live) {
    const scope = { app, environment }
    const now = await snapshotEnv(sql, { ...scope, branch: deployment.branch })
    const names = differingNames(deployment.envSnapshot, now, { scope, key })
    if (names.length > 0) found.push({ deployment, names })
  }
  return found
}
