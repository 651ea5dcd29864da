import type { Deployment } from './deployments.ts'
import { snapshotEnv } from './env-vars.ts'
import type { Db } from './sql.ts'

/** What a version that is live again does not know of. */
export type MovedSince = {
  /** Variables that were set, set anew or removed since it was made; it runs with those it was shipped with. */
  env: string[]
  /** Migrations that later deployments have applied to the app's database, in their order; nothing takes them back. */
  migrations: string[]
}

export async function readMovedSince(sql: Db, deployment: Deployment): Promise<MovedSince> {
  const { appId, environment, branch, routeId, number, envSnapshot } = deployment
  const now = await snapshotEnv(sql, { app: appId, environment, branch })
  const names = new Set([...Object.keys(envSnapshot), ...Object.keys(now)])
  const later = await sql<{ migrations: string[] }[]>`
    select migrations
    from deployments
    where route_id = ${routeId}
      and number > ${number}
      and migrations <> '[]'
    order by number
  `
  return {
    // Values are compared sealed, so one that was set again to the same is among them.
    env: [...names].filter((name) => envSnapshot[name]?.value !== now[name]?.value).sort(),
    migrations: [...new Set(later.flatMap(({ migrations }) => migrations))],
  }
}
