import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BuildOptions } from 'esbuild'
import type { Transforms } from '../build-workers/transforms/plugins/plugins.ts'
import type { BundleRequest } from '../build-workers/transforms/run-bundle.ts'
import { prepareRuntime, stageBundle } from '../sandbox/runtime.ts'
import { run } from '../test/support/command.ts'
import { checkout } from '../test/support/platform.ts'
import { type Row, repeat, seconds } from './measure.ts'
import { settings } from './settings.ts'

const packages = { 'lucide-react': '1.75.0', '@mui/icons-material': '9.5.0', '@mui/material': '*', 'date-fns': '4.4.0' }
const others = { react: '*', 'react-dom': '*', '@emotion/react': '*', '@emotion/styled': '*' }
const apps = [
  {
    name: 'lucide-react',
    source: "import { Camera, House, Sun } from 'lucide-react'; export default [Camera, House, Sun]",
  },
  {
    name: '@mui/icons-material',
    source: "import { Camera, House } from '@mui/icons-material'; export default [Camera, House]",
  },
  { name: 'date-fns', source: "import { addDays, format } from 'date-fns'; export default [addDays, format]" },
]

/**
 * A bundle of two or three modules of a package whose index names hundreds or thousands, by esbuild's library with `barrel_optimize` in a Node
 * of its own, beside esbuild's own program: what a build without it runs. Without walls, which cost both the same.
 */
export async function measureBarrels(): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'barrels-'))
  try {
    const json = JSON.stringify({ private: true, type: 'module', dependencies: { ...packages, ...others } })
    await writeFile(join(folder, 'package.json'), json)
    const installed = await run('npm', ['install', '--ignore-scripts', '--no-audit'], { cwd: folder, env: process.env })
    if (installed.code !== 0) return [missing(installed.stderr)]
    const tools = await openTools(folder)
    const rows: Row[] = []
    for (const app of apps) rows.push(await measureOne(app, folder, tools))
    return rows
  } finally {
    await rm(folder, { recursive: true })
  }
}

type Tools = { node: string; script: string; library: string; program: string }

async function openTools(folder: string): Promise<Tools> {
  const runtime = await prepareRuntime(folder)
  const script = await stageBundle(folder, join(checkout, 'build-workers/transforms/run-bundle.ts'), runtime)
  const { node, modules } = runtime
  const program = join(modules, '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild')
  return { node, script, program, library: join(modules, 'esbuild', 'lib', 'main.js') }
}

async function measureOne(app: (typeof apps)[number], folder: string, tools: Tools): Promise<Row> {
  await writeFile(join(folder, 'index.js'), app.source)
  const sides = {
    ours: () => bundled(folder, library(tools, app.name)),
    theirs: () => bundled(folder, { file: tools.program, args: ['index.js', ...flags] }),
  }
  // The first of each finds the files cold.
  const [small, plain] = [await sides.ours(), await sides.theirs()]
  const [ours, theirs]: [number[], number[]] = [[], []]
  await repeat(settings.rounds, async () => {
    ours.push(1000 * (await seconds(sides.ours)))
    theirs.push(1000 * (await seconds(sides.theirs)))
  })
  return {
    what: `bundle of ${app.name}, barrel_optimize on (${small} B)`,
    values: ours,
    unit: 'ms',
    rival: { what: `esbuild alone (${plain} B)`, values: theirs },
  }
}

const flags = [
  '--bundle',
  '--platform=node',
  '--format=esm',
  '--outfile=out.js',
  '--preserve-symlinks',
  '--log-level=error',
]

function library({ node, script, library: path, program }: Tools, name: string) {
  const options: BuildOptions = {
    ...{ entryPoints: ['index.js'], bundle: true, platform: 'node', format: 'esm', outfile: 'out.js' },
    preserveSymlinks: true,
  }
  const transforms: Transforms = { barrel_optimize: { packages: [name], listed: [] } }
  const request: BundleRequest = { options, transforms }
  return { file: node, args: [script, path, program, JSON.stringify(request)] }
}

/** The size of what came of it. */
async function bundled(folder: string, { file, args }: { file: string; args: string[] }): Promise<number> {
  const { code, stderr } = await run(file, args, { cwd: folder, env: process.env })
  if (code !== 0) throw new Error(stderr)
  return (await stat(join(folder, 'out.js'))).size
}

function missing(reason: string): Row {
  return { what: 'bundle of a barrel', values: [], unit: 'ms', missing: reason.split('\n')[0] ?? '' }
}
