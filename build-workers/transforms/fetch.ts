import { join } from 'node:path'
import type { BuildContext, BuildOutput } from '../build-context.ts'
import { runHook, runsCommands } from '../hooks.ts'
import { isFolderInside } from '../inside.ts'
import { formatSize } from '../size.ts'
import { makeFor } from '../workspace.ts'
import { chooseTransforms } from './choose-transforms.ts'
import { bundleClient } from './client.ts'
import { isPrivate } from './copy.ts'
import { bundle } from './esbuild.ts'

/** A fetch app: its entry and all it imports become one ES module; files in `public/` are served by the edge. */
export async function buildFetchApp(context: BuildContext, entry: string): Promise<BuildOutput> {
  await context.installer?.installer.installAll({ readOnly: !runsCommands(context.app.config) })
  await runHook(context, 'preBuild')
  const output = await bundleFetchApp(context, entry)
  await runHook(context, 'postBuild')
  return output
}

/** The bundling alone, with dependencies in place. */
export async function bundleFetchApp(context: BuildContext, entry: string): Promise<BuildOutput> {
  const { workspace, root, log } = context
  const folder = join(workspace.tmp, 'bundle')
  const transforms = chooseTransforms(context, 'server')
  await makeFor(workspace.user, folder)
  await log.step('Bundling', `${entry} → bundle.js`, async (step) => {
    const outfile = join(folder, 'bundle.js')
    const size = await bundle(context, { entry, outfile, format: 'esm', externalPackages: false, transforms })
    step.detail(`${entry} → bundle.js ${formatSize(size)}`)
  })
  const client = await bundleClient(context)
  const publicFolder = [root, 'public'].filter(Boolean).join('/')
  return {
    kind: 'fetch',
    transforms: ['esbuild', ...new Set([...Object.keys(transforms), ...client.transforms])],
    pages: [
      ...(isFolderInside(workspace.app, publicFolder)
        ? [{ root: workspace.app, from: publicFolder, below: '', skip: isPrivate }]
        : []),
      ...client.pages,
    ],
    fallback: 'none',
    server: {
      entry: 'bundle.js',
      start: null,
      parts: [{ root: workspace.root, from: 'tmp/bundle', below: '', skip: () => false }],
      files: [{ path: 'package.json', content: Buffer.from('{"type":"module"}\n') }],
      modules: null,
    },
  }
}
