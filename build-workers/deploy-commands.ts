import type { DeployCommands } from '../registry/deploy-commands.ts'
import { recordMigrations } from '../registry/deploy-commands.ts'
import type { Sql } from '../registry/sql.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { AppConfig } from './app-config.ts'
import type { BuildContext } from './build-context.ts'
import { runDeployHook } from './hooks.ts'
import { migrateApp } from './migrations.ts'
import type { Programs } from './programs.ts'
import { userCommand } from './user-command.ts'

export type BeforeDeployDeps = { sql: Sql; config: { home: string }; appNetworks: Promise<AppNetworks> }

/** What of an app runs when one of its builds is deployed, to be kept with the build: it may be deployed again without being built. */
export function deployCommands({ hooks, database }: AppConfig): DeployCommands {
  const wanted = (['preDeploy', 'postDeploy', 'onRollback'] as const).filter((name) => hooks[name])
  return { hooks: wanted, changesDatabase: Boolean(database?.migrations || database?.release) }
}

/**
 * Runs what comes before a version is verified and has users, in the app's folder as the build left it: preDeploy, which may refuse, then its
 * migrations, then its release command. Throws HOOK_FAILED, MIGRATION_FAILED, RELEASE_FAILED.
 */
export async function runBeforeDeploy(
  deploymentId: string,
  context: BuildContext,
  { sql, config, appNetworks }: BeforeDeployDeps,
): Promise<void> {
  const { hooks, database } = context.app.config
  const { migrations: folder, release } = database ?? {}
  if (!hooks.preDeploy && !folder && !release) return
  await inAppNetwork(context, appNetworks, async (programs) => {
    await runDeployHook(context, 'preDeploy', programs)
    const onApplied = (names: string[]) => recordMigrations(sql, deploymentId, names)
    if (folder) await migrateApp(context, { folder, home: config.home, programs, onApplied })
    if (release) await runRelease(context, release, programs)
  })
}

/** Programs of a deployment reach what the app itself reaches, its database too; those of a build do not. */
export async function inAppNetwork<T>(
  { programs }: Pick<BuildContext, 'programs'>,
  networks: Promise<AppNetworks>,
  run: (programs: Programs) => Promise<T>,
): Promise<T> {
  const { namespace, resolvers, release } = await (await networks).lease()
  try {
    return await run(programs.elsewhere({ network: { namespace: namespace ?? null }, resolvers }))
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
