import { join } from 'node:path'
import { z } from 'zod'
import { AppError } from '../registry/errors.ts'
import { stageScript } from '../sandbox/runtime.ts'
import type { BuildContext, BuildOutput } from './build-context.ts'
import { type BeforeDeployDeps, inAppNetwork } from './deploy-commands.ts'
import { readEndInside } from './inside.ts'
import { mostPaths, type PathSource, readStaticPaths, type StaticPath } from './static-paths.ts'

/** `database`: the one the app was given. */
export type ListingDeps = Pick<BeforeDeployDeps, 'appNetworks' | 'database'> & { home: string }

const listingMs = 60_000
const longestReport = 16 * 1_048_576
const longestExports = 65_536

const reported = z.union([
  z.strictObject({ paths: z.array(z.unknown()), count: z.number() }),
  z.strictObject({ error: z.string() }),
])

/**
 * What is to be prerendered: `build.static.paths` of the config, and what a fetch app's entry exports as `staticPaths`. The app's code is
 * asked behind the walls, in its own network and with its own variables, after its migrations. Throws CONFIG_INVALID, PRERENDER_FAILED.
 */
export async function listStaticPaths(
  context: BuildContext,
  output: BuildOutput,
  deps: ListingDeps,
): Promise<StaticPath[]> {
  const { enabled, paths } = context.app.config.build.static ?? { enabled: true, paths: [] }
  if (!enabled) return []
  const bundle = output.kind === 'fetch' ? bundleWithPaths(output) : null
  const exported = bundle === null ? [] : await askApp(context, bundle, deps)
  const sources: PathSource[] = [
    { name: 'build.static.paths', paths },
    { name: 'staticPaths', paths: exported },
  ]
  return readStaticPaths(sources)
}

// esbuild ends a module with the names it exports: nobody else's bundle is started for nothing.
function bundleWithPaths({ server }: BuildOutput): string | null {
  const part = server?.parts[0]
  if (!part || !server.entry) return null
  const end = readEndInside(part.root, join(part.from, server.entry), longestExports)
  const [, names = ''] = /\nexport \{([^{}]*)\};?\s*(?:\/\/# sourceMappingURL=\S*\s*)?$/.exec(end ?? '') ?? []
  const isListed = names.split(',').some((name) => /(^|\sas )staticPaths$/.test(name.trim()))
  return isListed ? join(part.root, part.from, server.entry) : null
}

async function askApp(context: BuildContext, bundle: string, deps: ListingDeps): Promise<unknown[]> {
  const { runtime, folder, log } = context
  const script = await stageScript(deps.home, join(import.meta.dirname, 'read-static-paths.ts'))
  return log.step('Listing', 'staticPaths', async (step) => {
    const said = await inAppNetwork(context, deps, ({ deployEnv }, programs) =>
      programs.run({
        name: 'staticPaths',
        file: runtime.node,
        args: [script, bundle],
        cwd: folder,
        env: { NODE_ENV: 'production', ...deployEnv },
        code: 'PRERENDER_FAILED',
        timeout: { ms: listingMs, setting: 'what staticPaths may take' },
        controlBytes: longestReport,
      }),
    )
    const report = parse(said)
    if (!report) throw new AppError('PRERENDER_FAILED', 'staticPaths: the app ended before it had listed its paths')
    if ('error' in report) throw new AppError('PRERENDER_FAILED', `staticPaths: ${report.error.slice(0, 500)}`)
    if (report.count > mostPaths)
      throw new AppError(
        'CONFIG_INVALID',
        `staticPaths lists ${report.count} paths; at most ${mostPaths} can be prerendered`,
      )
    step.detail(`staticPaths: ${report.count} paths`)
    return report.paths
  })
}

// The app can write to that line, too.
function parse(said: Buffer): z.infer<typeof reported> | null {
  try {
    const read = reported.safeParse(JSON.parse(said.toString('utf8').split('\n', 1)[0] ?? ''))
    return read.success ? read.data : null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}
