import type { Db } from './sql.ts'

/** What of an app runs when a build of it is deployed, and whether it is given a database. */
export type DeployCommands = {
  hooks: ('preDeploy' | 'postDeploy' | 'onRollback')[]
  changesDatabase: boolean
  /** `template`: a preview's begins as a copy of production's. */
  provision?: boolean | 'template'
  data?: boolean
}

/** Null: the build is gone, or older than these. */
export async function readDeployCommands(sql: Db, buildId: string): Promise<DeployCommands | null> {
  const [row] = await sql<{ commands: DeployCommands | null }[]>`
    select deploy_commands as commands
    from builds
    where id = ${buildId}
  `
  return row?.commands ?? null
}

/** Remembers which of the app's migrations a deployment applied. */
export async function recordMigrations(sql: Db, deploymentId: string, names: string[]): Promise<void> {
  if (names.length === 0) return
  await sql`
    update deployments
    set migrations = migrations || ${sql.json(names)}
    where id = ${deploymentId}
  `
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
