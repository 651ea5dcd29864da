import type { DeployCommands } from '../registry/deploy-commands.ts'
import { recordMigrations } from '../registry/deploy-commands.ts'
import type { Sql } from '../registry/sql.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import type { AppConfig } from './app-config.ts'
import type { BuildContext } from './build-context.ts'
import { runDeployHook } from './hooks.ts'
import { migrateApp } from './migrations.ts'
import type { Programs } from './programs.ts'
import { userCommand } from './user-command.ts'

export type BeforeDeployDeps = {
  sql: Sql
  config: { home: string }
  appNetworks: Promise<AppNetworks>
  /** The one the app was given. */
  database: DatabaseAccess | null
}

/** What of an app runs when one of its builds is deployed, to be kept with the build: it may be deployed again without being built. */
export function deployCommands({ hooks, database, data }: AppConfig): DeployCommands {
  const wanted = (['preDeploy', 'postDeploy', 'onRollback'] as const).filter((name) => hooks[name])
  return {
    hooks: wanted,
    changesDatabase: Boolean(database?.migrations || database?.release),
    provision: provisionOf(database),
    data,
  }
}

/** Whether an app is given a database, and what a preview's begins as. */
export function provisionOf(database: AppConfig['database']): boolean | 'template' {
  if (!database?.provision) return false
  return database.preview === 'template' ? 'template' : true
}

/**
 * Runs what comes before a version is verified and has users, in the app's folder as the build left it: preDeploy, which may refuse, then its
 * migrations, then its release command. Throws HOOK_FAILED, MIGRATION_FAILED, RELEASE_FAILED.
 */
export async function runBeforeDeploy(
  deploymentId: string,
  context: BuildContext,
  { sql, config, appNetworks, database: given }: BeforeDeployDeps,
): Promise<void> {
  const { hooks, database } = context.app.config
  const { migrations: folder, release } = database ?? {}
  if (!hooks.preDeploy && !folder && !release) return
  await inAppNetwork(context, { appNetworks, database: given }, async (inside, programs) => {
    await runDeployHook(inside, 'preDeploy', programs)
    const onApplied = (names: string[]) => recordMigrations(sql, deploymentId, names)
    if (folder) await migrateApp(inside, { folder, home: config.home, programs, onApplied })
    if (release) await runRelease(inside, release, programs)
  })
}

/** Programs of a deployment reach what the app itself reaches, its database too; those of a build do not. `inside` has the variables they find it by. */
export async function inAppNetwork<T>(
  context: BuildContext,
  { appNetworks, database }: Pick<BeforeDeployDeps, 'appNetworks' | 'database'>,
  run: (inside: BuildContext, programs: Programs) => Promise<T>,
): Promise<T> {
  const { namespace, resolvers, env, release } = await (await appNetworks).lease({ database })
  try {
    const inside = { ...context, deployEnv: { ...context.deployEnv, ...env } }
    return await run(inside, context.programs.elsewhere({ network: { namespace: namespace ?? null }, resolvers }))
  } finally {
    release()
  }
}

async function runRelease(context: BuildContext, command: string, programs: Programs): Promise<void> {
  const { app, runtime, folder, deployEnv, log } = context
  await log.step('Releasing', command, () =>
    programs.run({
      name: command.length <= 60 ? `release command ${command}` : 'release command',
      ...userCommand(command, app.tree, runtime),
      cwd: folder,
      env: { NODE_ENV: 'production', ...deployEnv },
      code: 'RELEASE_FAILED',
    }),
  )
}
