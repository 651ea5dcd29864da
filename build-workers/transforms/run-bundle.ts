// Runs in the sandbox, made one file with the plugins: bundles with esbuild's library, which the first word on the command line names (its program
// is the second), by the third, a BundleRequest. Plugins read whatever an import of the app leads to. Its messages are those of the
// program, on stderr.
import { pathToFileURL } from 'node:url'
import type { BuildFailure, BuildOptions, Message } from 'esbuild'
import { pluginsOf, type Transforms } from './plugins/plugins.ts'

export type BundleRequest = { options: BuildOptions; transforms: Transforms }

const [library = '', program = '', request = ''] = process.argv.slice(2)
process.env['ESBUILD_BINARY_PATH'] = program
const { options, transforms }: BundleRequest = JSON.parse(request)
const { build, formatMessages }: typeof import('esbuild') = await import(pathToFileURL(library).href)
const most = options.logLimit ?? 20
try {
  // What plugins find at the end of a build esbuild would say after the build has been told to have failed, and perhaps too late.
  const { warnings } = await build({ ...options, plugins: pluginsOf(transforms, process.env), logLevel: 'silent' })
  await say('warning', warnings)
  process.exit(0)
} catch (thrown) {
  if (!isFailure(thrown)) console.error(thrown)
  else await Promise.all([say('warning', thrown.warnings), say('error', thrown.errors)])
  process.exit(1)
}

async function say(kind: 'warning' | 'error', messages: Message[]): Promise<void> {
  const shown = await formatMessages(messages.slice(0, most), { kind })
  for (const text of shown) process.stderr.write(text)
  if (messages.length > most) process.stderr.write(`${most} of ${messages.length} ${kind}s shown\n`)
}

function isFailure(thrown: unknown): thrown is BuildFailure {
  return thrown instanceof Error && 'errors' in thrown && 'warnings' in thrown
}
