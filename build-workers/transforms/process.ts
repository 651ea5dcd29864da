import type { BuildContext, BuildOutput } from '../build-context.ts'
import { baseOf, insideBase, packProgram, runBuild } from './server.ts'

/** A start command: the app's files as its build left them, and its production dependencies. */
export async function buildProcess(
  context: BuildContext,
  { command, build }: { command: string; build: boolean },
): Promise<BuildOutput> {
  return packProcess(context, command, { afterBuild: await runBuild(context, build) })
}

/** The bundle of a program whose files are in place. */
export async function packProcess(
  context: BuildContext,
  command: string,
  { afterBuild }: { afterBuild: boolean },
): Promise<BuildOutput> {
  const packed = await packProgram(context, { afterBuild, replaced: [], own: [] })
  const folder = insideBase(baseOf(context), context.root, '')
  return {
    kind: 'process',
    transforms: [...(afterBuild ? ['build'] : []), 'process'],
    pages: [],
    fallback: 'none',
    server: { ...packed, entry: null, start: { command, folder: folder === '.' ? '' : folder } },
  }
}
