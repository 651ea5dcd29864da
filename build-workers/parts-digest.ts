import { createHash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import type { Deployment } from '../registry/deployments.ts'
import { digestInputs } from '../registry/reusable-builds.ts'
import { type AppParts, isWithin } from './app-parts.ts'
import type { SourceTree } from './source-tree.ts'

/** As in digestInputs: of a build that reads no variables for run time only, and of one that does. */
export type PartsDigests = { build: string; run: string }

/**
 * A digest of all that a build is made from but for its version, where the app uses a part of its repository: two deployments with the same one have the
 * same build. Null: it uses everything, or a file is too large to be looked at. `folder` holds the tree as it was unpacked.
 */
export function digestParts(
  { environment, branch, label, envSnapshot, options }: Deployment,
  { tree, folder, root, parts }: { tree: SourceTree; folder: string; root: string; parts: AppParts },
): PartsDigests | null {
  if (parts.unused.length === 0) return null
  const hash = createHash('sha256').update(root)
  const isUsed = (path: string) => !isWithin(path, parts.unused)
  for (const path of [...tree.paths()].filter(isUsed).sort()) {
    const bytes = tree.readBytes(path)
    if (bytes === null) return null
    const isExecutable = (lstatSync(join(folder, path)).mode & 0o111) !== 0
    hash.update(JSON.stringify([path, isExecutable, bytes.length])).update(bytes)
  }
  const links = tree.links().filter(([path]) => isUsed(path))
  hash.update(JSON.stringify(links.sort(([a], [b]) => (a < b ? -1 : 1))))
  const inputs = {
    version: '',
    sourceTree: `parts ${hash.digest('hex')}`,
    target: { environment, branch, label },
    env: envSnapshot,
    fork: options.fork,
  }
  const digest = (reads: 'build' | 'run') => digestInputs(inputs, { reads }).treeSha256 ?? ''
  return { build: digest('build'), run: digest('run') }
}
