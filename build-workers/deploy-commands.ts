import type { DeployCommands } from '../registry/deploy-commands.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { AppConfig } from './app-config.ts'
import type { BuildContext } from './build-context.ts'
import { runDeployHook } from './hooks.ts'
import type { Programs } from './programs.ts'

/** What of an app runs when one of its builds is deployed, to be kept with the build: it may be deployed again without being built. */
export function deployCommands({ hooks }: AppConfig): DeployCommands {
  const wanted = (['preDeploy', 'postDeploy', 'onRollback'] as const).filter((name) => hooks[name])
  return { hooks: wanted }
}

/**
 * Runs what comes before a version is verified and has users, in the app's folder as the build left it: preDeploy, which may refuse. Throws HOOK_FAILED.
 */
export async function runBeforeDeploy(context: BuildContext, networks: Promise<AppNetworks>): Promise<void> {
  const { hooks } = context.app.config
  if (!hooks.preDeploy) return
  await inAppNetwork(context, networks, (programs) => runDeployHook(context, 'preDeploy', programs))
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
