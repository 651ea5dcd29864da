import type { Claim } from '../registry/claims.ts'
import { readDeployCommands, readLiveVersion } from '../registry/deploy-commands.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import { announceData } from './app-data.ts'
import { type AppDatabaseDeps, provideDatabase } from './app-database.ts'
import { runBeforeDeploy } from './deploy-commands.ts'
import { type OpenSourceDeps, openSource } from './open-source.ts'

/**
 * What comes before the deployment of a build that was made before: the same that comes after a build, in the app's source with its dependencies. Nothing
 * is opened for an app that has nothing to run. Throws as `runBeforeDeploy` does.
 */
export async function runBeforeDeployAgain(
  claim: Claim,
  deps: OpenSourceDeps & AppDatabaseDeps & { appNetworks: Promise<AppNetworks> },
): Promise<void> {
  const { sql } = deps
  const commands = claim.buildId === null ? null : await readDeployCommands(sql, claim.buildId)
  await announceData(commands?.data ?? false, deps)
  const database = await provideDatabase(claim, { wanted: commands?.provision ?? false, deps })
  if (!commands?.hooks.includes('preDeploy') && !commands?.changesDatabase) return
  const previous = await readLiveVersion(sql, claim)
  const { context } = await openSource(claim, { name: claim.id, previous, quiet: true }, deps)
  await context.installer?.installer.installAll()
  await runBeforeDeploy(claim.id, context, { ...deps, database })
}
