import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import { type BuildContext, type BuildOutput, buildStepEnv } from '../build-context.ts'
import { runHook } from '../hooks.ts'
import { isFolderInside } from '../walk.ts'
import { isPrivate } from './copy.ts'

/** Runs a tool that leaves a folder of static files: the app's own build script, or the tool itself. */
export async function buildSite(
  context: BuildContext,
  { tool, output }: { tool: string; output: string },
): Promise<BuildOutput> {
  await context.installer?.installer.installAll()
  await runHook(context, 'preBuild')
  const command = await context.log.step('Building', buildCommand(context, tool), async (step) => {
    const name = await runBuildScript(context, tool)
    step.detail(`${name} → ${output}`)
    return name
  })
  await runHook(context, 'postBuild')

  const { workspace, root } = context
  const from = [root, output].filter(Boolean).join('/')
  if (!isFolderInside(workspace.app, from))
    throw new AppError(
      'BUILD_FAILED',
      `build failed: ${command} left no folder ${output}; name the right one with build.output in atelier.config.ts`,
    )
  return {
    kind: 'static',
    transforms: [tool],
    pages: { root: workspace.app, from, skip: isPrivate },
    fallback: 'single-page',
    server: null,
  }
}

/** Runs `scripts.build`, or `<tool> build` without one; returns what ran, as a person would write it. Throws BUILD_FAILED. */
export async function runBuildScript(context: BuildContext, tool: string | null): Promise<string> {
  const { app, programs, runtime, folder, workspace, installer } = context
  const program = app.pkg?.scripts['build']
    ? { file: runtime.node, args: [runtime.npmCli, 'run', 'build'] }
    : { file: join(workspace.app, installer?.root ?? '', 'node_modules/.bin', tool ?? ''), args: ['build'] }
  const name = buildCommand(context, tool)
  await programs.run({ name, ...program, cwd: folder, env: buildStepEnv(context), code: 'BUILD_FAILED' })
  return name
}

function buildCommand({ app }: BuildContext, tool: string | null): string {
  const script = app.pkg?.scripts['build']
  if (!script) return `${tool} build`
  return script.length <= 40 && !/[\n\r]/.test(script) ? script : 'npm run build'
}
