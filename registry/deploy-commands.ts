import type { Db } from './sql.ts'

/** What of an app runs when a build of it is deployed. */
export type DeployCommands = { hooks: ('preDeploy' | 'postDeploy' | 'onRollback')[] }

/** Null: the build is gone, or older than these. */
export async function readDeployCommands(sql: Db, buildId: string): Promise<DeployCommands | null> {
  const [row] = await sql<{ commands: DeployCommands | null }[]>`
    select deploy_commands as commands
    from builds
    where id = ${buildId}
  `
  return row?.commands ?? null
}

/** The version that is live on a route, but for the given deployment; null: none. */
export async function readLiveVersion(
  sql: Db,
  { id, routeId }: { id: string; routeId: string | null },
): Promise<string | null> {
  const [live] = await sql<{ version: string }[]>`
    select version
    from deployments
    where route_id = ${routeId}
      and state = 'live'
      and id <> ${id}
  `
  return live?.version ?? null
}
