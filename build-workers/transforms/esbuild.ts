import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../registry/errors.ts'
import { type BuildContext, buildStepEnv } from '../build-context.ts'

export type BundleOptions = {
  entry: string
  /** Absolute. */
  outfile: string
  format: 'esm' | 'cjs'
  /** Dependencies stay imports instead of becoming part of the file. */
  externalPackages: boolean
}

// Dependencies written for CommonJS call require and read __dirname wherever they are; in a module these do not exist, and as globals they
// are found without standing in the way of a module that declares its own.
const commonJsGlobals =
  'import{createRequire as atelierCreateRequire}from"node:module";globalThis.require??=atelierCreateRequire(import.meta.url);globalThis.__filename??=import.meta.filename;globalThis.__dirname??=import.meta.dirname;'

/**
 * Bundles a program to one file for Node, with its source map beside. esbuild's own program runs, behind the walls as the build's user:
 * in this process it would read whatever file an import names. Returns the size of the file. Throws BUILD_FAILED with file and line.
 */
export async function bundle(
  context: BuildContext,
  { entry, outfile, format, externalPackages }: BundleOptions,
): Promise<number> {
  const { programs, runtime, folder, installer, log } = context
  const lines: string[] = []
  try {
    await programs.run({
      name: 'esbuild',
      file: join(runtime.modules, '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild'),
      args: [
        entry,
        '--bundle',
        '--platform=node',
        `--target=node${process.versions.node}`,
        `--format=${format}`,
        `--outfile=${outfile}`,
        '--sourcemap',
        '--sources-content=false',
        '--log-level=warning',
        '--log-limit=20',
        '--color=false',
        ...(format === 'esm' ? [`--banner:js=${commonJsGlobals}`] : []),
        ...(externalPackages ? ['--packages=external'] : []),
        // Dependencies may be lent through a symlink, and their names in the bundle are the app's all the same. pnpm's layout is made of
        // symlinks that have to be followed.
        ...(installer?.manager.name === 'pnpm' ? [] : ['--preserve-symlinks']),
      ],
      cwd: folder,
      env: buildStepEnv(context),
      code: 'BUILD_FAILED',
      onLine: (line) => {
        lines.push(line)
        log.output(line)
      },
    })
  } catch (thrown) {
    const why = firstError(lines)
    if (!(thrown instanceof AppError) || thrown.code !== 'BUILD_FAILED' || !why) throw thrown
    throw new AppError('BUILD_FAILED', `build failed: ${why}`, { cause: thrown })
  }
  return lstatSync(outfile).size
}

// `✘ [ERROR] Could not resolve "hono"`, an empty line, `    src/index.ts:1:21:`.
function firstError(lines: string[]): string | null {
  const at = lines.findIndex((line) => line.includes('[ERROR] '))
  const message = lines[at]?.replace(/^.*\[ERROR\] /, '')
  const place = /^\s+(\S.*:\d+:\d+):$/.exec(lines[at + 2] ?? '')?.[1]
  return message ? `${place ? `${place}: ` : ''}${message}` : null
}
