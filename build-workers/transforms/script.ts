import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import { type BuildContext, type BuildOutput, buildStepEnv } from '../build-context.ts'
import { cacheFolders } from '../cache-folders.ts'
import { entryStyle } from '../entry-style.ts'
import { runHook } from '../hooks.ts'
import { isFolderInside, readInside } from '../inside.ts'
import type { Transform } from '../plan.ts'
import { userCommand } from '../user-command.ts'
import { isPrivate } from './copy.ts'
import { bundleFetchApp } from './fetch.ts'
import { packProcess } from './process.ts'
import { packNodeServer } from './server.ts'

/** `build.script` of the config: whatever it does, it leaves static files in `output`, or a program at `entry`. */
export async function buildByScript(
  context: BuildContext,
  { script, output, entry, command, asProcess }: Omit<Transform & { transform: 'script' }, 'transform'>,
): Promise<BuildOutput> {
  const { app, programs, runtime, folder, workspace, root, log, frameworkCache } = context
  await context.installer?.installer.installAll()
  await runHook(context, 'preBuild')
  await log.step('Building', script, () =>
    frameworkCache.during(cacheFolders(context), () =>
      programs.run({
        name: script.length <= 40 ? script : 'build.script',
        ...userCommand(script, app.tree, runtime),
        cwd: folder,
        env: buildStepEnv(context),
        code: 'BUILD_FAILED',
      }),
    ),
  )
  await runHook(context, 'postBuild')

  if (entry) {
    const text = readInside(workspace.app, join(root, entry))
    const style = text === null ? null : entryStyle(text)
    if (style === 'fetch' && !asProcess) return bundleFetchApp(context, entry)
    return packNodeServer(context, entry, { afterBuild: true, asProcess })
  }
  if (command) return packProcess(context, command, { afterBuild: true })
  const from = join(root, output)
  if (!isFolderInside(workspace.app, from))
    throw new AppError(
      'BUILD_FAILED',
      `build failed: ${script} left no folder ${output}; set build.output to the folder it writes, or build.entry to the program`,
    )
  return {
    kind: 'static',
    transforms: ['script'],
    pages: [{ root: workspace.app, from, below: '', skip: isPrivate }],
    fallback: 'single-page',
    server: null,
  }
}
