import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import { type BuildContext, type BuildOutput, buildStepEnv } from '../build-context.ts'
import { cacheFolders } from '../cache-folders.ts'
import { runHook } from '../hooks.ts'
import { isFolderInside } from '../inside.ts'
import type { BuildTool } from '../plan.ts'
import { isPrivate } from './copy.ts'

/** Runs a tool that leaves a folder of static files: the app's own build script, or the tool itself. */
export async function buildSite(
  context: BuildContext,
  { tool, build, output }: { tool: string; build: BuildTool; output: string },
): Promise<BuildOutput> {
  await context.installer?.installer.installAll()
  await runHook(context, 'preBuild')
  const command = await context.log.step('Building', buildCommand(context, build), async (step) => {
    const name = await runBuildScript(context, build)
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
    pages: [{ root: workspace.app, from, below: '', skip: isPrivate }],
    fallback: 'single-page',
    server: null,
  }
}

/** Runs the build script, or the tool where there is none; returns what ran, as a person would write it; `caches`: folders of the app that the next build is to find again. Throws BUILD_FAILED. */
export async function runBuildScript(
  context: BuildContext,
  tool: BuildTool | null,
  take = (line: string) => context.log.output(line),
  caches: string[] = [],
): Promise<string> {
  const { programs, runtime, folder, workspace, installer, frameworkCache } = context
  const script = scriptOf(context, tool)
  const bin = join(workspace.app, installer?.root ?? '', 'node_modules/.bin')
  const program = script
    ? { file: runtime.node, args: [runtime.npmCli, 'run', script] }
    : { file: join(bin, tool?.program ?? ''), args: tool?.args ?? [] }
  const name = buildCommand(context, tool)
  const onLine = withoutBanner(name, take)
  await frameworkCache.during(cacheFolders(context, caches), () =>
    programs.run({ name, ...program, cwd: folder, env: buildStepEnv(context), code: 'BUILD_FAILED', onLine }),
  )
  return name
}

/**
 * Drops the two lines that npm prints before it runs `build`, when all they say is the command that the step's head has shown already.
 * npm's own way to leave them out (`--silent`) would silence every npm within the build.
 */
export function withoutBanner(command: string, take: (line: string) => void): (line: string) => void {
  let held: string | null = null
  return (line) => {
    const first = held
    held = null
    if (first !== null && line === `> ${command}`) return
    if (first !== null) take(first)
    if (/^> (\S+ )?\S*build$/.test(line)) held = line
    else take(line)
  }
}

/** The build as it is shown to people. */
export function buildCommand(context: BuildContext, tool: BuildTool | null): string {
  const name = scriptOf(context, tool)
  if (!name) return [tool?.program, ...(tool?.args ?? [])].join(' ')
  const script = context.app.pkg?.scripts[name] ?? ''
  return script.length <= 40 && !/[\n\r]/.test(script) ? script : `npm run ${name}`
}

function scriptOf({ app }: BuildContext, tool: BuildTool | null): string | null {
  return (tool?.scripts ?? ['build']).find((name) => app.pkg?.scripts[name]) ?? null
}
