import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type BuildFailure, type BuildOptions, build, formatMessages, type Plugin } from 'esbuild'

export type TestBundle = {
  text: string
  /** Modules that were read, relative to the folder. */
  inputs: string[]
  /** Of the source map. */
  sources: string[]
  mappings: string
  errors: string[]
}

/** Bundles files in a folder of its own with one plugin, and says what came of it; the entry is `index.js`, unless another is named. For tests. */
export async function bundleFiles(
  files: Record<string, string | object>,
  plugin: Plugin | null,
  { entry = 'index.js', ...options }: { entry?: string } & BuildOptions = {},
): Promise<TestBundle> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'bundle-')))
  try {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content))
    }
    return await run(folder, { ...options, entryPoints: [entry], plugins: plugin ? [plugin] : [] })
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function run(folder: string, options: BuildOptions): Promise<TestBundle> {
  const fixed = { absWorkingDir: folder, bundle: true, format: 'esm', write: false, outfile: 'out.js' } as const
  const more = { metafile: true, sourcemap: 'external', preserveSymlinks: true, logLevel: 'silent' } as const
  try {
    const { outputFiles = [], metafile } = await build({ platform: 'node', ...fixed, ...more, ...options })
    const find = (ending: string) => outputFiles.find(({ path }) => path.endsWith(ending))?.text ?? ''
    const { sources = [], mappings = '' }: { sources?: string[]; mappings?: string } = JSON.parse(find('.map'))
    return { text: find('out.js'), inputs: Object.keys(metafile?.inputs ?? {}), sources, mappings, errors: [] }
  } catch (thrown) {
    const { errors } = thrown as BuildFailure
    const shown = await formatMessages(errors, { kind: 'error' })
    return { text: '', inputs: [], sources: [], mappings: '', errors: shown }
  }
}
