import { join } from 'node:path'
import type { BuildOptions } from 'esbuild'
import type { BuildContext, PlacedPart } from '../build-context.ts'
import { namesInside } from '../inside.ts'
import { makeFor } from '../workspace.ts'
import { chooseTransforms } from './choose-transforms.ts'
import { runEsbuild } from './esbuild.ts'

const fileLoaders = [
  'png',
  'jpg',
  'jpeg',
  'gif',
  'webp',
  'avif',
  'svg',
  'ico',
  'woff',
  'woff2',
  'ttf',
  'otf',
  'mp3',
  'mp4',
  'webm',
  'wasm',
]

// The names of entries are what pages of the app refer to; chunks and pictures are referred to by esbuild, and kept for a year.
const options = {
  platform: 'browser',
  format: 'esm',
  splitting: true,
  minify: true,
  target: ['es2022'],
  entryNames: '[name]',
  chunkNames: '[name]-[hash]',
  assetNames: '[name]-[hash]',
  loader: Object.fromEntries(fileLoaders.map((extension) => [`.${extension}`, 'file'])),
} as const satisfies BuildOptions

export type ClientOutput = { pages: PlacedPart[]; transforms: string[] }

/** What a fetch app has for browsers (`build.client`), as files below `/assets`: one for each entry, and what these share. Throws BUILD_FAILED. */
export async function bundleClient(context: BuildContext): Promise<ClientOutput> {
  const { workspace, log, app } = context
  const entries = app.config.build.client
  if (entries.length === 0) return { pages: [], transforms: [] }
  const transforms = chooseTransforms(context, 'client')
  const folder = join(workspace.tmp, 'client')
  await makeFor(workspace.user, folder)
  await log.step('Bundling', `${entries.join(', ')} → assets/`, async (step) => {
    await runEsbuild(context, { ...options, entryPoints: entries, outdir: join(folder, 'assets') }, transforms)
    const names = namesInside(workspace.root, 'tmp/client/assets')
    step.detail(`${entries.join(', ')} → assets/ (${names.length} file${names.length === 1 ? '' : 's'})`)
  })
  return {
    pages: [{ root: workspace.root, from: 'tmp/client', below: '', skip: () => false }],
    transforms: Object.keys(transforms),
  }
}

/** That nobody bundles it, for kinds of app that have tools of their own; a sentence for the log, or null. */
export function describeUnbundled({ config }: BuildContext['app'], transform: string): string | null {
  if (config.build.client.length === 0 || transform === 'bundle') return null
  return 'build.client is left out: only of a fetch app does Atelier bundle what browsers load'
}
