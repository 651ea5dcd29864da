import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import type { BuildOptions } from 'esbuild'
import { AppError } from '../../registry/errors.ts'
import { stageBundle } from '../../sandbox/runtime.ts'
import { type BuildContext, buildStepEnv } from '../build-context.ts'
import { publicDefines } from './plugins/env-inline.ts'
import type { Transforms } from './plugins/plugins.ts'
import type { BundleRequest } from './run-bundle.ts'

export type BundleOptions = {
  entry: string
  /** Absolute. */
  outfile: string
  format: 'esm' | 'cjs'
  /** Dependencies stay imports instead of becoming part of the file. */
  externalPackages: boolean
  transforms?: Transforms
}

// Dependencies written for CommonJS call require and read __dirname wherever they are; in a module these do not exist, and as globals they
// are found without standing in the way of a module that declares its own.
const commonJsGlobals =
  'import{createRequire as atelierCreateRequire}from"node:module";globalThis.require??=atelierCreateRequire(import.meta.url);globalThis.__filename??=import.meta.filename;globalThis.__dirname??=import.meta.dirname;'
// Of one argument of a program Linux takes 128 kB.
const longestDefine = 100_000

/** Bundles a program to one file for Node, with its source map beside. Returns the size of the file. Throws BUILD_FAILED with file and line. */
export async function bundle(
  context: BuildContext,
  { entry, outfile, format, externalPackages, transforms = {} }: BundleOptions,
): Promise<number> {
  const options: BuildOptions = {
    entryPoints: [entry],
    outfile,
    format,
    platform: 'node',
    target: `node${process.versions.node}`,
    sourcemap: true,
    ...(format === 'esm' && { banner: { js: commonJsGlobals } }),
    ...(externalPackages && { packages: 'external' }),
  }
  await runEsbuild(context, options, transforms)
  return lstatSync(outfile).size
}

/**
 * Runs esbuild behind the walls as the build's user: in this process it would read whatever file an import names. Its own program does it; its
 * library, in a Node of its own, when there is a plugin that needs one: a start of 50 ms. Throws BUILD_FAILED with file and line.
 */
export async function runEsbuild(context: BuildContext, wanted: BuildOptions, transforms: Transforms): Promise<void> {
  const { programs, runtime, folder, installer, log } = context
  const options: BuildOptions = {
    ...wanted,
    bundle: true,
    sourcesContent: false,
    logLevel: 'warning',
    logLimit: 20,
    color: false,
    // Dependencies may be lent through a symlink, and their names in the bundle are the app's all the same. pnpm's layout is made of
    // symlinks that have to be followed.
    preserveSymlinks: installer?.manager.name !== 'pnpm',
  }
  const env = buildStepEnv(context)
  const program = join(runtime.modules, '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild')
  const plain = plainArgs(options, transforms, env)
  const lines: string[] = []
  try {
    await programs.run({
      name: 'esbuild',
      ...(plain ? { file: program, args: plain } : await driver(context, program, { options, transforms })),
      cwd: folder,
      env,
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
}

async function driver({ runtime }: BuildContext, program: string, request: BundleRequest) {
  const script = await stageBundle(runtime.home, join(import.meta.dirname, 'run-bundle.ts'), runtime)
  const library = join(runtime.modules, 'esbuild', 'lib', 'main.js')
  return { file: runtime.node, args: [script, library, program, JSON.stringify(request)] }
}

// The arguments for esbuild's own program; null: there is a plugin it cannot run.
function plainArgs(options: BuildOptions, { env_inline, ...plugins }: Transforms, env: Record<string, string>) {
  const defines = Object.entries(publicDefines(env_inline ?? [], env)).map(([name, text]) => `--define:${name}=${text}`)
  if (
    options.platform === 'browser' ||
    Object.keys(plugins).length > 0 ||
    defines.some((text) => text.length > longestDefine)
  )
    return null
  const { entryPoints, banner, ...others } = options
  const flags = Object.entries(others).flatMap(([name, value]) => {
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
    if (value === false && name === 'preserveSymlinks') return []
    return value === true ? [flag] : [`${flag}=${String(value)}`]
  })
  const entries = Array.isArray(entryPoints) ? entryPoints.map(String) : []
  return [...entries, ...flags, ...(banner?.['js'] ? [`--banner:js=${banner['js']}`] : []), ...defines]
}

// `✘ [ERROR] Could not resolve "hono"`, an empty line, `    src/index.ts:1:21:`. A plugin's message has its name before it: `[plugin import_strip]`.
function firstError(lines: string[]): string | null {
  const at = lines.findIndex((line) => line.includes('[ERROR] '))
  const message = lines[at]?.replace(/^.*\[ERROR\] /, '').replace(/ \[plugin [\w]+\]$/, '')
  const place = /^\s+(\S.*:\d+:\d+):$/.exec(lines[at + 2] ?? '')?.[1]
  return message ? `${place ? `${place}: ` : ''}${message}` : null
}
