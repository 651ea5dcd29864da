import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import type { BuildContext, BuildOutput, PlacedPart, ServerOutput } from '../build-context.ts'
import { runHook } from '../hooks.ts'
import { isFolderInside, readInside } from '../inside.ts'
import type { Transform } from '../plan.ts'
import { nodeCommand } from '../start-command.ts'
import { isPrivate } from './copy.ts'
import { findNextOutput, type NextOutput } from './next-output.ts'
import { buildCommand, runBuildScript } from './site.ts'

type Standalone = Extract<NextOutput, { kind: 'standalone' }>

const next = { scripts: ['build'], program: 'next', args: ['build'] }
const bootFile = 'atelier.next.mjs'
const boot = readFileSync(join(import.meta.dirname, '../next-boot.mjs'))

/** A Next.js app: the server that `next build` makes of it when asked for `standalone`, or the pages of `output: 'export'`. */
export async function buildNext(
  context: BuildContext,
  { dist, asProcess }: Pick<Transform & { transform: 'next' }, 'dist' | 'asProcess'>,
): Promise<BuildOutput> {
  await context.installer?.installer.installAll()
  await runHook(context, 'preBuild')
  await runNext(context, dist)
  await runHook(context, 'postBuild')

  const output = findNextOutput(context, dist)
  if (!output) throw new AppError('BUILD_FAILED', `build failed: ${explainNothing(context)}`)
  if (output.kind === 'export') return packExport(context, output)
  const server = await packStandalone(context, output)
  const start = asProcess ? { command: nodeCommand(bootFile), folder: output.appFolder } : null
  return {
    kind: asProcess ? 'process' : 'server',
    transforms: ['next'],
    pages: staticParts(context, output),
    fallback: 'none',
    server: { ...server, start },
  }
}

async function runNext(context: BuildContext, dist: string): Promise<void> {
  const { workspace, log } = context
  const env = {
    NEXT_TELEMETRY_DISABLED: '1',
    ...context.env,
    // What Next.js takes for `output` when its config says nothing, and for the top of the repository.
    NEXT_PRIVATE_STANDALONE: '1',
    NEXT_PRIVATE_OUTPUT_TRACE_ROOT: workspace.app,
  }
  const lines: string[] = []
  const onLine = (line: string) => {
    lines.push(line)
    if (lines.length > 500) lines.shift()
    log.output(line)
  }
  try {
    await log.step('Building', buildCommand(context, next), () =>
      runBuildScript({ ...context, env }, next, onLine, [join(dist, 'cache')]),
    )
  } catch (thrown) {
    const why = thrown instanceof AppError && thrown.code === 'BUILD_FAILED' ? explainFailure(lines) : null
    throw why ? new AppError('BUILD_FAILED', `build failed: ${why}`, { cause: thrown }) : thrown
  }
}

/** The sentence for what people could not know from the tool's own words; null: those have to do. */
export function explainFailure(lines: string[]): string | null {
  const text = lines.join('\n')
  if (/fonts\.(googleapis|gstatic)\.com|from Google Fonts/.test(text))
    return 'next/font/google could not fetch its fonts: builds reach the internet only as this server does; bring the files along with next/font/local'
  return null
}

function explainNothing({ app }: BuildContext): string {
  const script = app.pkg?.scripts['build']
  if (script && !/\bnext\b.*\bbuild\b/.test(script))
    return `the build script (${script}) left no server of Next.js; it has to run next build, with the variables of its environment (turbo: globalPassThroughEnv: ["NEXT_*"])`
  return "next build left no server; it takes Next.js 13 or later, and no other output in next.config than 'standalone' or 'export'"
}

function packExport({ workspace }: BuildContext, { folder, basePath }: NextOutput & { kind: 'export' }): BuildOutput {
  return {
    kind: 'static',
    transforms: ['next'],
    pages: [{ root: workspace.app, from: folder, below: basePath.slice(1), skip: isPrivate }],
    fallback: 'none',
    server: null,
  }
}

// Next.js looks up its own static files, too: for the pictures it makes smaller, and where its rules come before files.
async function packStandalone({ workspace, root, installer }: BuildContext, output: Standalone): Promise<ServerOutput> {
  const { dist, distName, appFolder } = output
  const standalone = join(dist, 'standalone')
  const part = (from: string, below: string): PlacedPart[] => {
    const isThere = isFolderInside(workspace.app, from) && !isFolderInside(workspace.app, join(standalone, below))
    return isThere ? [{ root: workspace.app, from, below, skip: () => false }] : []
  }
  const server = readInside(workspace.app, join(standalone, appFolder, 'server.js')) ?? ''
  // Next.js itself above all: the same from push to push, so neither packed nor unpacked again.
  const traced = join(standalone, 'node_modules')
  const modules =
    installer && isFolderInside(workspace.app, traced)
      ? await installer.installer.archiveTraced(traced, 'node_modules')
      : null
  return {
    entry: join(appFolder, bootFile),
    start: null,
    parts: [
      { root: workspace.app, from: standalone, below: '', skip: (path) => modules !== null && path === 'node_modules' },
      ...part(join(dist, 'static'), join(appFolder, distName, 'static')),
      ...part(join(root, 'public'), join(appFolder, 'public')),
    ],
    files: [
      { path: join(appFolder, 'server.js'), content: Buffer.from(withOurSettings(server)) },
      { path: join(appFolder, bootFile), content: boot },
      {
        path: join(appFolder, 'atelier.next.json'),
        content: Buffer.from(`${JSON.stringify({ decidesByVisitor: output.decidesByVisitor })}\n`),
      },
    ],
    modules,
  }
}

/** server.js holds the app's config as one line of JSON. */
export function withOurSettings(server: string): string {
  return server.replace(/^const nextConfig = (\{.*\})$/m, (line, written: string) => {
    const config: unknown = JSON.parse(written)
    if (typeof config !== 'object' || config === null) return line
    const experimental: unknown = Reflect.get(config, 'experimental')
    const settings = {
      ...config,
      // The edge compresses, off the app's thread and once for what it keeps.
      compress: false,
      // An app cannot write among its own files: what it makes anew it keeps in memory.
      experimental: { ...(typeof experimental === 'object' ? experimental : {}), isrFlushToDisk: false },
    }
    return `const nextConfig = ${JSON.stringify(settings)}`
  })
}

// What lies in `public` is asked for by plain names: where a proxy, redirects or headers of the app's decide first, they go on doing so.
function staticParts({ workspace, root, log }: BuildContext, output: Standalone): PlacedPart[] {
  const { dist, basePath, staticPrefixes, hasRules } = output
  const place = (from: string, below: string): PlacedPart[] =>
    isFolderInside(workspace.app, from) ? [{ root: workspace.app, from, below: below.slice(1), skip: isPrivate }] : []
  const own = place(join(root, 'public'), basePath)
  if (hasRules && own.length > 0)
    log.line('       public/ is served by the app itself: its proxy, redirects, rewrites or headers come first')
  return [
    ...staticPrefixes.flatMap((prefix) => place(join(dist, 'static'), `${prefix}/_next/static`)),
    ...(hasRules ? [] : own),
  ]
}
