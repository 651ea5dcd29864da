import type { BuildContext } from './build-context.ts'
import { buildStepEnv } from './build-context.ts'
import { userCommand } from './user-command.ts'

/** Runs a hook of the config, if it is set, as a step of the build. Throws HOOK_FAILED. */
export async function runHook(context: BuildContext, name: 'preBuild' | 'postBuild'): Promise<void> {
  const { app, programs, runtime, folder, log } = context
  const { timeoutSec, [name]: command } = app.config.hooks
  if (!command) return
  await log.step('Hook', `${name}: ${command}`, () =>
    programs.run({
      name: `hook ${name}`,
      ...userCommand(command, app.tree, runtime),
      cwd: folder,
      env: buildStepEnv(context),
      code: 'HOOK_FAILED',
      timeout: { ms: timeoutSec * 1000, setting: 'hooks.timeoutSec' },
    }),
  )
}

/** Settings that are read and checked, and do nothing yet; a sentence for the log, or null. */
export function describeUnused({ config }: BuildContext['app']): string | null {
  const { hooks, build, database } = config
  const names = [
    ...(['preDeploy', 'postDeploy', 'onRollback'] as const)
      .filter((name) => hooks[name])
      .map((name) => `hooks.${name}`),
    ...(build.static?.enabled && build.static.paths.length > 0 ? ['build.static.paths'] : []),
    ...(database ? ['database'] : []),
  ]
  return names.length > 0 ? `not used yet: ${names.join(', ')}` : null
}
