import { readdirSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import type { AppParts } from '../app-parts.ts'
import type { BuildContext, BuildOutput, ServerOutput } from '../build-context.ts'
import { runHook, runsCommands } from '../hooks.ts'
import { isFolderInside, readInside } from '../inside.ts'
import { ownScripts } from '../install.ts'
import { isGenerated } from '../module-tree.ts'
import { formatSize } from '../size.ts'
import { nodeCommand } from '../start-command.ts'
import { makeFor } from '../workspace.ts'
import { bundle } from './esbuild.ts'
import { runBuildScript } from './site.ts'

/** A program that listens: its files, and the dependencies it needs in production. */
export async function buildNodeServer(
  context: BuildContext,
  { entry, build, asProcess }: { entry: string; build: boolean; asProcess: boolean },
): Promise<BuildOutput> {
  const afterBuild = await runBuild(context, build)
  return packNodeServer(context, entry, { afterBuild, asProcess })
}

/** Runs what of the app runs before packing: hooks, and with `build` its build script. False: nothing did. */
export async function runBuild(context: BuildContext, build: boolean): Promise<boolean> {
  const { app, installer, log } = context
  // Nothing runs between unpacking and packing: then what a build needs besides production dependencies can be left out altogether.
  const runsScripts = (app.pkg !== null && ownScripts(app.pkg).length > 0) || installer?.installer.hasScriptedMembers
  const runsPrograms = build || runsCommands(app.config) || runsScripts === true
  if (runsPrograms) await installer?.installer.installAll()
  await runHook(context, 'preBuild')
  if (build)
    await log.step('Building', 'npm run build', async (step) => {
      step.detail(await runBuildScript(context, null))
    })
  await runHook(context, 'postBuild')
  return runsPrograms
}

/** The bundle of a server whose files are in place. Throws ENTRY_NOT_FOUND. */
export async function packNodeServer(
  context: BuildContext,
  entry: string,
  { afterBuild, asProcess }: { afterBuild: boolean; asProcess: boolean },
): Promise<BuildOutput> {
  const { root } = context
  const found = findEntry(context, entry)
  const compiled = /\.[cm]?tsx?$/.test(found) ? await bundleTypeScript(context, found) : null
  const base = baseOf(context)
  const below = insideBase(base, root, dirname(found))
  const replaced = compiled ? [compiled, `${compiled}.map`].map((name) => join(below, name)) : []
  const file = compiled ? join(below, compiled) : insideBase(base, root, found)
  const own = compiled
    ? [{ root: context.workspace.root, from: 'tmp/server', below: plain(below), skip: () => false }]
    : []
  const packed = await packProgram(context, { afterBuild, replaced, own })
  return {
    kind: asProcess ? 'process' : 'server',
    transforms: [...(afterBuild ? ['build'] : []), ...(compiled ? ['esbuild'] : []), 'node'],
    pages: [],
    fallback: 'none',
    server: { ...packed, entry: file, start: asProcess ? { command: nodeCommand(file), folder: '' } : null },
  }
}

/** The files of a program and its production dependencies; `own` comes from elsewhere, in place of the paths `replaced`. */
export async function packProgram(
  context: BuildContext,
  { afterBuild, replaced, own }: { afterBuild: boolean; replaced: string[]; own: ServerOutput['parts'] },
): Promise<Pick<ServerOutput, 'parts' | 'files' | 'modules'>> {
  const base = baseOf(context)
  const modules = context.installer
    ? await context.installer.installer.archiveProduction({ afterBuild, parts: partsBelow(context, base) })
    : null
  const parts = [appPart(context, base, replaced), ...own, ...(afterBuild ? generatedParts(context, base) : [])]
  return { parts, files: [], modules }
}

/** The top of what is packed: the app's folder, or that of the workspace it is a member of. */
export function baseOf({ installer, root }: BuildContext): string {
  return installer?.root ?? root
}

// As `node <entry>` would find it, among what is there after the build.
function findEntry({ workspace, root }: BuildContext, entry: string): string {
  const paths = [entry, ...['.js', '.mjs', '.cjs', '.ts'].map((extension) => entry + extension), `${entry}/index.js`]
  const found = paths.find((path) => readInside(workspace.app, join(root, path), 1) !== null)
  if (found) return found
  throw new AppError(
    'ENTRY_NOT_FOUND',
    `the app starts with ${entry}, and the build left no such file; correct the start script, or set build.entry in atelier.config.ts`,
  )
}

// Node takes away types, but does not know a bundler's import paths, enums or JSX; esbuild does. The file goes where the entry is, so paths
// relative to it stay true. Returns its name.
async function bundleTypeScript(context: BuildContext, entry: string): Promise<string> {
  const { workspace, app, log } = context
  const isModule = entry.endsWith('.mts') || (app.pkg?.type === 'module' && !entry.endsWith('.cts'))
  const name = `${basename(entry, extname(entry))}.${isModule ? 'mjs' : 'cjs'}`
  const folder = join(workspace.tmp, 'server')
  await makeFor(workspace.user, folder)
  await log.step('Bundling', `${entry} → ${name}`, async (step) => {
    const outfile = join(folder, name)
    const size = await bundle(context, { entry, outfile, format: isModule ? 'esm' : 'cjs', externalPackages: true })
    step.detail(`${entry} → ${name} ${formatSize(size)}`)
  })
  return name
}

// Paths in the repository, as they are called from the top of what is packed.
function partsBelow({ parts: { unused, mentioned } }: BuildContext, base: string): AppParts {
  const below =
    base === '' ? unused : unused.flatMap((path) => (path.startsWith(`${base}/`) ? [path.slice(base.length + 1)] : []))
  return { unused: below, mentioned }
}

function appPart(context: BuildContext, base: string, replaced: string[]): ServerOutput['parts'][number] {
  const { workspace, installer } = context
  const { unused } = partsBelow(context, base)
  const left = new Set([...replaced, '.git', '.npmrc', '.yarn', '.yarnrc', '.yarnrc.yml'])
  // Written by the install itself, so not there when the same dependencies come from the cache.
  if (installer?.manager.lockfile === null)
    for (const file of ['package-lock.json', 'yarn.lock', 'pnpm-lock.yaml']) left.add(file)
  const skip = (path: string) =>
    left.has(path) || unused.includes(path) || (installer !== null && basename(path) === 'node_modules')
  return { root: workspace.app, from: base, below: '', skip }
}

// Clients that the build generated from the app's own files, such as node_modules/.prisma.
function generatedParts({ workspace, installer }: BuildContext, base: string): ServerOutput['parts'] {
  const modules = join(base, 'node_modules')
  if (!installer || !isFolderInside(workspace.app, modules)) return []
  return readdirSync(join(workspace.app, modules))
    .filter((name) => isGenerated(`node_modules/${name}`, ['node_modules']))
    .filter((name) => isFolderInside(workspace.app, join(modules, name)))
    .map((name) => ({
      root: workspace.app,
      from: join(modules, name),
      below: `node_modules/${name}`,
      skip: () => false,
    }))
}

export function insideBase(base: string, root: string, path: string): string {
  return join(root.slice(base.length).replace(/^\//, ''), path)
}

function plain(path: string): string {
  return path === '.' ? '' : path
}
