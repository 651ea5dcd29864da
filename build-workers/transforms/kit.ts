import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import type { BuildContext, BuildOutput, PlacedPart } from '../build-context.ts'
import { runHook } from '../hooks.ts'
import { isFolderInside, namesInside, readInside } from '../inside.ts'
import type { Left, Transform } from '../plan.ts'
import { nodeCommand } from '../start-command.ts'
import { isPrivate } from './copy.ts'
import { packProcess } from './process.ts'
import { packNodeServer } from './server.ts'
import { buildCommand, runBuildScript } from './site.ts'

type KitPlan = Omit<Transform & { transform: 'kit' }, 'transform'>

/** A framework that builds a server or a site: its build runs, and what it has left says which. */
export async function buildKit(context: BuildContext, { kit, command, asProcess }: KitPlan): Promise<BuildOutput> {
  const { installer, log } = context
  const tool = { scripts: ['build'], program: kit.program, args: ['build'] }
  await installer?.installer.installAll()
  await runHook(context, 'preBuild')
  const name = await log.step('Building', buildCommand(context, tool), (step) =>
    runBuildScript({ ...context, env: { ...kit.env, ...context.env } }, tool).then((ran) => {
      step.detail(ran)
      return ran
    }),
  )
  await runHook(context, 'postBuild')

  for (const left of kit.leaves) {
    const output = await take(context, left, { command, asProcess })
    if (output) return { ...output, transforms: [kit.program] }
  }
  throw new AppError('BUILD_FAILED', `build failed: ${name} left neither a server nor pages; ${kit.advice}`)
}

async function take(
  context: BuildContext,
  left: Left,
  { command, asProcess }: Pick<KitPlan, 'command' | 'asProcess'>,
): Promise<BuildOutput | null> {
  if ('pages' in left) return takePages(context, left.pages)
  const entry = 'entry' in left ? left.entry : left.module
  if (readInside(context.workspace.app, join(context.root, entry), 1) === null) return null
  const pages = partOf(context, left.files)
  if ('module' in left) {
    return command ? { ...(await packProcess(context, command, { afterBuild: true })), pages } : null
  }
  if (!left.alone) return { ...(await packNodeServer(context, entry, { afterBuild: true, asProcess })), pages }
  const { alone } = left
  return {
    kind: asProcess ? 'process' : 'server',
    transforms: [],
    pages,
    fallback: 'none',
    server: {
      entry,
      start: asProcess ? { command: nodeCommand(entry), folder: '' } : null,
      parts: [{ root: context.workspace.app, from: join(context.root, alone), below: alone, skip: () => false }],
      files: [],
      modules: null,
    },
  }
}

function takePages(context: BuildContext, pattern: string): BuildOutput | null {
  const { workspace, root } = context
  const folder = foldersOf(context, pattern).find(
    (path) => readInside(workspace.app, join(root, path, 'index.html'), 1) !== null,
  )
  if (folder === undefined) return null
  return { kind: 'static', transforms: [], pages: partOf(context, folder), fallback: 'single-page', server: null }
}

function foldersOf({ workspace, root }: BuildContext, pattern: string): string[] {
  const [above = '', below] = pattern.split('*')
  if (below === undefined) return [pattern]
  return namesInside(workspace.app, join(root, above)).map((name) => `${above}${name}${below}`)
}

function partOf({ workspace, root }: BuildContext, folder: string): PlacedPart[] {
  const from = join(root, folder)
  return isFolderInside(workspace.app, from) ? [{ root: workspace.app, from, below: '', skip: isPrivate }] : []
}
