import type { AppConfig } from './app-config.ts'
import type { BuildContext } from './build-context.ts'
import { buildStepEnv } from './build-context.ts'
import type { Programs } from './programs.ts'
import { userCommand } from './user-command.ts'

export type BuildHook = 'preBuild' | 'postBuild'
export type DeployHook = 'preDeploy' | 'postDeploy' | 'onRollback'

/** Runs a hook of the config, if it is set, as a step of the build. Throws HOOK_FAILED. */
export async function runHook(context: BuildContext, name: BuildHook): Promise<void> {
  await runAsStep(context, name, { programs: context.programs, env: buildStepEnv(context) })
}

/** The same of a hook that belongs to the deployment and not to the build, by `programs` in the network of apps. Throws HOOK_FAILED. */
export async function runDeployHook(context: BuildContext, name: DeployHook, programs: Programs): Promise<void> {
  await runAsStep(context, name, { programs, env: { NODE_ENV: 'production', ...context.deployEnv } })
}

async function runAsStep(
  { app, runtime, folder, log, hookEnv }: BuildContext,
  name: BuildHook | DeployHook,
  { programs, env }: { programs: Programs; env: Record<string, string> },
): Promise<void> {
  const { timeoutSec, [name]: command } = app.config.hooks
  if (!command) return
  await log.step('Hook', `${name}: ${command}`, () =>
    programs.run({
      name: `hook ${name}`,
      ...userCommand(command, app.tree, runtime),
      cwd: folder,
      env: { ...env, ...hookEnv },
      code: 'HOOK_FAILED',
      timeout: { ms: timeoutSec * 1000, setting: 'hooks.timeoutSec' },
    }),
  )
}

/** Whether anything of the app's own runs in its folder besides its build, so that all its dependencies are to be there. */
export function runsCommands({ hooks, database }: AppConfig): boolean {
  return Boolean(hooks.preBuild || hooks.postBuild || hooks.preDeploy || database?.release)
}
